"""Speed, size and exactness of what is built here, each measured by one command against peers."""
