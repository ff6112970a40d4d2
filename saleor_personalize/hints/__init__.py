"""What is worth saying on a page at this moment, each with a reason that is true."""
