"""What MLflow loads: a saved model as a pyfunc, logged as code and arrays, never as a pickle.

MLflow runs this file as a script when it loads the model ("models from code"), with what it needs of `ml` beside it.
"""

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel

from ml.saved import load

DEFAULT_K = 10


class SavedRecommender(PythonModel):
    """`predict(DataFrame[user_id, k])` -> DataFrame[user_id, rank, video_id, score], best first.

    A user the model never saw gets what it says of nobody in particular.
    """

    def load_context(self, context: Any) -> None:
        self._model = load(Path(context.artifacts["factors"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        users = model_input["user_id"].astype(str).tolist()
        wanted = model_input["k"].astype(int).tolist() if "k" in model_input else [DEFAULT_K] * len(users)
        rows: list[tuple[str, int, str, float]] = []
        for user, k in zip(users, wanted, strict=True):
            (ranked,) = self._model.recommend([user], k)
            rows += [(user, rank, str(v), float(score)) for rank, (v, score) in enumerate(ranked, start=1)]
        return pd.DataFrame(rows, columns=["user_id", "rank", "video_id", "score"])


mlflow.models.set_model(SavedRecommender())
