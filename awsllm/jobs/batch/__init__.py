"""One call over many records, with nothing lost: by single calls from here, Bedrock's batch jobs, or batch transform.

    options     what a batch takes beside a call's own options
    values      what is told of one: plan, estimate, progress, rows; results is all of them
    tables      CSV, JSON Lines and Parquet, read and written row by row; s3:// through files
    records     a row, a prompt or a dict to the arguments of a call
    answers     an answer as the ledger keeps it, and as a row of the output
    ledger      what is known of each record, in SQLite: the one place where truth is kept
    intake      records into the ledger, all of them checked before anything is spent
    calls       the runner that makes single calls, under the client's policy
    bodies      a record to a line of a job's input, and a line of its output to an answer
    quotas      how many records and bytes one of Bedrock's jobs takes
    bedrock     the runner over Bedrock's batch inference jobs
    endpoints   the runner over SageMaker's batch transform
    choice      which of the three, what it will cost, and why
    access      what it needs of IAM, and the role of Bedrock's jobs
    start       what ``client.batch`` does
    job         the handle: wait, stop, result
    resume      another process takes one up, by its ledger
    known       the batches of this machine, as jobs
    engines     the same call within Ray Data, Spark and Dask

A record is answered, or set aside with its error, in one transaction with its answer; output is written whole from the
ledger and renamed into place. So whatever ends the process, the same call goes on where it was. What was being asked at
that moment is asked again, and may be paid twice; it is in the output once.
"""
