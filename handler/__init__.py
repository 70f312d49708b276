"""The object-storage side: buckets, leases, caches, manifests. Knows nothing of models; it never imports torch or
numpy.
"""
