"""What must outlive a crash: the record of each lab, the journal of a run under way, the locks."""
