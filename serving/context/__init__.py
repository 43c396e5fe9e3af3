"""What users did in the last minutes: in Redis, in this process's memory, told to other replicas."""
