"""What happened: the run folder, its journal, and the commands a run takes."""
