"""A client's own limits: it keeps to the quotas that it is behind, so that the service need not refuse it.

limits       what a user says of them; which of them a model is under
windows      what was used of one quota lately, and what is left
limiter      one quota: who may call now, who waits, and in which order
estimating   what a request will be counted as, before it is sent
limited      a backend that keeps to them
shared       one quota that several processes keep to; stores: where it is counted
quotas       the limits that Service Quotas knows
"""
