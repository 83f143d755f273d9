"""Images: from a file, a download or a program into tensors, then into batches.

    npz, torchvision's files, a download --> Dataset --> training and evaluation batches

Imports errors and experiment alone.
"""
