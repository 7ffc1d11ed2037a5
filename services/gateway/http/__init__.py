"""HTTP that is the same for all routes: methods, compression, pages of other origins."""
