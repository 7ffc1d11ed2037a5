"""The parts of a turn: the renewal of its lease, the meaning of its failure, and its metrics."""
