"""Networks of the model repository in the runtimes of the device, behind one protocol."""
