"""Models and their versions in MLflow: registered, described, promoted, read without mlflow."""
