"""What the torch engine runs on a GPU: Triton kernels, and CUDA graphs of decoding steps.

No line of it has run on a GPU yet: the tests run the kernels by Triton's interpreter, and the
graphs' bookkeeping without graphs, on a CPU.
"""
