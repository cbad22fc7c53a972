"""Facts about the kernel and the operations that make them true: one file a kernel noun."""
