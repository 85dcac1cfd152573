"""Job record, artifact storage, queue, worker and embedded Redis."""
