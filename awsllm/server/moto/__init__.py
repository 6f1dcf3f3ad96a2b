"""All that is known here of moto's insides, in one place that checks itself and undoes itself.

stubber     moto in-process: what is asked before it, and what it does not have
requests    moto by HTTP: a request that arrived at the server, answered
digests     whether what S3 is sent is what its sender says
completed   what moto lacks, for as long as somebody needs it
hardening   what moto has that is not for strangers
scaling     what moto's autoscaling lacks
buckets     S3's buckets and objects, read out and put back
neighbours  what an offline account asks of the services beside it
"""
