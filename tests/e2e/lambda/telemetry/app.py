"""A function with an internal extension, as APM agents are: it hears of invocations, and gets the telemetry of its own instance."""
import http.client
import http.server
import json
import os
import threading

records = []
heard = []
arrived = threading.Condition()


class Subscriber(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with arrived:
            records.extend(body)
            arrived.notify_all()
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


def ask(method, path, body=None, **headers):
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    text = answer.read()
    assert answer.status == 200, (path, answer.status, text)
    return answer, text


def listen(identifier):
    while True:
        _, text = ask("GET", "/2020-01-01/extension/event/next", Lambda_Extension_Identifier=identifier)
        with arrived:
            heard.append(json.loads(text))
            arrived.notify_all()


server = http.server.HTTPServer(("127.0.0.1", 0), Subscriber)
threading.Thread(target=server.serve_forever, daemon=True).start()
registered, _ = ask("POST", "/2020-01-01/extension/register", '{"events":["INVOKE"]}', Lambda_Extension_Name="agent")
agent = registered.headers["Lambda-Extension-Identifier"]
ask("PUT", "/2022-07-01/telemetry", json.dumps({
    "schemaVersion": "2022-07-01", "types": ["platform", "function"], "buffering": {"timeoutMs": 25},
    "destination": {"protocol": "HTTP", "URI": f"http://sandbox.localdomain:{server.server_port}/"}}), Lambda_Extension_Identifier=agent)
threading.Thread(target=listen, args=(agent,), daemon=True).start()


def knows(reports, request_id):
    """So many reports have come, and this invocation's beginning, by both ways."""
    return (sum(record["type"] == "platform.report" for record in records) >= reports
            and any(record["type"] == "platform.start" and record["record"]["requestId"] == request_id for record in records)
            and any(said["requestId"] == request_id for said in heard))


def handler(event, context):
    if event.get("say"):
        print(event["say"])
    if event.get("fail"):
        raise ValueError("as asked")
    if event.get("until"):
        with arrived:
            arrived.wait_for(lambda: knows(event["until"], context.aws_request_id), 10)
            return {"records": list(records), "heard": list(heard), "id": context.aws_request_id}
    return {"id": context.aws_request_id}
