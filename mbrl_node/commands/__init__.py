"""What commands of `mbrl` do that are about runs on disk and robots' files; one file each,
imported when it is called for."""
