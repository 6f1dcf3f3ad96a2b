"""One cold start: ``python -I -S worker.py FOLDER MODULE EVENT`` prints the CPU milliseconds of the whole process up to
the handler's first reply, those until the handler was there, and how many modules were loaded.

``-I -S`` leaves the standard library alone on the path; FOLDER is what Lambda unpacks."""

import sys
import time


class Context:
    aws_request_id = "11111111-2222-4333-8444-555555555555"
    function_name = "chat"
    invoked_function_arn = "arn:aws:lambda:us-east-1:111122223333:function:chat"
    log_stream_name = "stream"
    memory_limit_in_mb = "1024"
    client_context = identity = None

    def get_remaining_time_in_millis(self):
        return 30_000


def main():
    folder, module, event = sys.argv[1:]
    sys.path.insert(0, folder)
    handler = __import__(module).handler
    ready = time.process_time()
    reply = handler({"version": "2.0", "body": event, **EVENT}, Context())
    done = time.process_time()
    assert reply["statusCode"] == 200, reply
    print(ready * 1e3, done * 1e3, len(sys.modules))


EVENT = {
    "routeKey": "POST /chat",
    "rawPath": "/chat",
    "rawQueryString": "",
    "headers": {"content-type": "application/json", "host": "abc.execute-api.us-east-1.amazonaws.com"},
    "requestContext": {
        "accountId": "111122223333",
        "apiId": "abc",
        "domainName": "abc.execute-api.us-east-1.amazonaws.com",
        "http": {
            "method": "POST",
            "path": "/chat",
            "protocol": "HTTP/1.1",
            "sourceIp": "192.0.2.1",
            "userAgent": "curl/8",
        },
        "requestId": "JKJaXmPLvHcESHA=",
        "routeKey": "POST /chat",
        "stage": "$default",
        "time": "26/Nov/2026:12:00:00 +0000",
        "timeEpoch": 1795953600000,
    },
    "isBase64Encoded": False,
}


if __name__ == "__main__":
    main()
