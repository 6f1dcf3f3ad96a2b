"""``python -m awsllm.jobs.local FOLDER [LOCK]``"""

import sys

from awsllm.jobs.local.training import train_in
from awsllm.jobs.local.worker import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], train_in))
