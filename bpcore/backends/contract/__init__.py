"""What a device brings (device_arrays.py, device.py), and the operations that are made of it, by family."""
