"""Work that runs elsewhere and is waited for.

    job             the one life cycle: plan, start, watch, stop, result, resume
    fine_tuning     ``client.fine_tune``: one call over this machine, Bedrock and SageMaker; ``tuned`` is its result
    account_jobs    ``client.jobs``: all jobs of all ``kinds``, what they cost; ``awaited`` is a job for coroutines
    training_choice where one of several bases is trained, and why
    data            what is trained on; ``local``: trainings here; ``bedrock``: jobs that make models there
    sagemaker       what SageMaker's jobs share
    finetune        a JumpStart model and a data set to a training job, and that to a deployable model; its request is
                    built by finetune_request, its values are checked by hyperparameters, its role's rights are access
    served          how what SageMaker trained is served; ``taken_up``: its trainings by their names and handles
    transform       a model over every object under an S3 prefix
    asynchronous    single invocations whose answers come through S3

Plans are pure; what makes and follows jobs is handed its clients.
"""
