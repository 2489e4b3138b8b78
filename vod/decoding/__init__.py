"""Opens, decodes and samples video in a child process that can be killed: the only room that knows video codecs."""
