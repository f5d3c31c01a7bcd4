"""Loop IR to C99: kernels that a person can read, and that a C compiler alone can build."""
