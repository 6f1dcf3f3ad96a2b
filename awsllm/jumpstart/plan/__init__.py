"""A deployment before it is made: a plan is a value that is read, saved, compared and priced, and then applied.

    options      what the caller may ask for beside the model
    resolve      the document's own rules: configuration, instance type, image, environment, artifact
    checks       what is refused or warned of
    requests     the bodies of SageMaker's creating requests; scaling: those of autoscaling
    permissions  what all of it needs of IAM
    plan         the values, how two plans are compared, how one reads
    planner      makes them

All of it is pure.
"""

from awsllm.jumpstart.plan.plan import Change, Cost, Plan, PlanContext, Step

__all__ = ["Change", "Cost", "Plan", "PlanContext", "Step"]
