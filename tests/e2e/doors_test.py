"""The doors of the HTTP port before a real daemon: events by PutEvents and as CloudEvents, routes, function URLs, a request that comes twice."""

import http.client
import json
import threading
import unittest

import prometheus
import sluice_daemon

APP = """
import json, os, time

def note(line):
    with open("seen", "a") as file:
        file.write(line + "\\n")

def event(event, context):
    note(json.dumps(event))

def slow(event, context):
    note(context.aws_request_id)
    while not os.path.exists("go"):
        time.sleep(0.01)
    return {"id": context.aws_request_id}

def web(event, context):
    if event["rawPath"].endswith("/text"):
        return "plain"
    if event["rawPath"].endswith("/bad"):
        return {"statusCode": 42}
    if event["rawPath"].endswith("/error"):
        raise ValueError("secret")
    if event["rawPath"].endswith("/names"):
        return sorted(event["headers"])
    return {"statusCode": 201, "headers": {"x-id": event.get("pathParameters", {}).get("id", "-")}, "cookies": ["a=1", "b=2"],
            "body": event["requestContext"]["http"]["method"] + " " + event.get("body", "")}
"""

STREAM = """
import fs from "node:fs";
export const handler = awslambda.streamifyResponse(async (event, stream) => {
  stream = awslambda.HttpResponseStream.from(stream, { statusCode: 207, headers: { "x-a": "b" } });
  stream.write("first ");
  while (!fs.existsSync("go")) await new Promise((again) => setTimeout(again, 10));
  stream.end("last");
});
"""

FUNCTIONS = """
buses: [orders]
functions:
  event: {runtime: python, handler: app.event, timeout: 20s}
  slow: {runtime: python, handler: app.slow, timeout: 20s}
  web: {runtime: python, handler: app.web, timeout: 20s}
  stream: {runtime: nodejs, handler: stream.handler, timeout: 20s, url: {stream: true, cors: {allow-origins: https://shop.example}}}
rules:
  r: {bus: orders, pattern: {source: [{prefix: shop}]}, targets: [{function: event}]}
"""
ROUTES = """
routes:
  one: {path: '/orders/{id}', methods: [GET, PUT], function: web, cors: {allow-origins: https://shop.example}}
  live: {path: /live, function: stream, stream: true}
"""
JSON11 = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "AWSEvents.PutEvents"}


class DoorsTest(sluice_daemon.DaemonTest):
    def setUp(self):
        self.daemon = self.prepare(FUNCTIONS + ROUTES, http=True)
        (self.daemon.folder / "app.py").write_text(APP)
        (self.daemon.folder / "stream.mjs").write_text(STREAM)
        self.daemon.start()

    def seen(self, count):
        """The lines that functions have noted, once there are so many."""
        def enough():
            path = self.daemon.folder / "seen"
            lines = path.read_text().splitlines() if path.exists() else []
            return lines if len(lines) >= count else None
        return self.daemon.wait_for(enough, f"{count} lines of functions")

    def go(self):
        (self.daemon.folder / "go").write_text("")

    def put_events(self, *entries):
        answer = self.daemon.http("POST", "/", json.dumps({"Entries": entries}), JSON11)
        self.assertEqual(answer.status, 200, answer.body)
        return json.loads(answer.body)

    def test_put_events(self):
        detail = '{ "n": 1.50, "text": "\\u00e9" }'
        answer = self.put_events({"Source": "shop", "DetailType": "paid", "Detail": detail, "EventBusName": "orders", "Resources": ["a"], "Time": 1767323045},
                                 {"Source": "shop", "DetailType": "paid", "Detail": "[]", "EventBusName": "orders"},
                                 {"Source": "shop", "DetailType": "paid", "Detail": "{}", "EventBusName": "nowhere"})
        self.assertEqual(answer["FailedEntryCount"], 1)
        self.assertEqual(answer["Entries"][1], {"ErrorCode": "MalformedDetail", "ErrorMessage": "Detail is malformed."})
        seen = json.loads(self.seen(1)[0])
        self.assertEqual(seen["id"], answer["Entries"][0]["EventId"])
        self.assertEqual((seen["source"], seen["time"], seen["resources"], seen["detail"]), ("shop", "2026-01-02T03:04:05Z", ["a"], json.loads(detail)))
        self.daemon.wait_balance("event", accepted=1, succeeded=1, pending=0)
        figures = self.daemon.http("GET", "/metrics").body.decode()
        self.assertIn('sluice_deliveries_total{function="event",outcome="succeeded"} 1\n', figures)
        self.assertIn("sluice_http_events_unknown_bus_total 1\n", figures)

    def test_figures_of_what_ran(self):
        """Synchronously, asynchronously and for events: each once in its histogram, and what failed counted."""
        for path in ("/text", "/text", "/error"):
            self.daemon.invoke("web", {"rawPath": path})
        self.daemon.invoke("web", {"rawPath": "/text"}, x_amz_invocation_type="Event")
        self.put_events(*[{"Source": "shop", "DetailType": "paid", "Detail": "{}", "EventBusName": "orders"}] * 3)
        self.daemon.wait_balance("web", succeeded=1, pending=0)
        self.daemon.wait_balance("event", succeeded=3, pending=0)
        figures = prometheus.parse(self.daemon.http("GET", "/metrics").body.decode())
        def runs(function, kind):
            return [figures.value("sluice_function_runs_total", function=function, kind=kind, outcome=outcome) for outcome in ("succeeded", "failed")]
        self.assertEqual([2, 1], runs("web", "invoke"))
        self.assertEqual([1, 0], runs("web", "delivery"))
        self.assertEqual([3, 0], runs("event", "delivery"))
        self.assertEqual(0, figures.value("sluice_function_runs_total", function="web", kind="invoke", outcome="throttled"))
        for function, kind in (("web", "invoke"), ("web", "delivery"), ("event", "delivery")):
            self.assertEqual(sum(runs(function, kind)), figures.value("sluice_function_run_seconds_count", function=function, kind=kind))
            self.assertGreater(figures.value("sluice_function_run_seconds_sum", function=function, kind=kind), 0)
        self.assertEqual(4, figures.value("sluice_delivery_run_seconds_count"))
        self.assertEqual(3, figures.value("sluice_invoke_run_seconds_count"))
        self.assertNotIn("slow", {dict(labels)["function"] for name, labels in figures.samples if name == "sluice_function_run_seconds_count"})

    def test_put_events_that_come_twice_are_one_event(self):
        """As botocore sends them again when the connection broke before the answer."""
        body = json.dumps({"Entries": [{"Source": "shop", "DetailType": "paid", "Detail": "{}", "EventBusName": "orders"}]})
        answers = [self.daemon.http("POST", "/", body, {**JSON11, "amz-sdk-invocation-id": "27c9a0d4-0000-4000-8000-000000000002"}) for _ in range(3)]
        self.assertEqual({answer.body for answer in answers}, {answers[0].body})
        self.assertEqual(json.loads(self.seen(1)[0])["id"], json.loads(answers[0].body)["Entries"][0]["EventId"])
        self.put_events(json.loads(body)["Entries"][0])      # another request
        self.daemon.wait_balance("event", accepted=2, succeeded=2, pending=0)

    def test_cloudevents(self):
        event = {"specversion": "1.0", "source": "shop/1", "type": "paid", "subject": "s", "partitionkey": "k", "data": {"n": 1}}
        answer = self.daemon.http("POST", "/events?bus=orders", json.dumps([{**event, "id": "1"}, event, {**event, "id": "2", "data": [1]}]),
                                  {"Content-Type": "application/cloudevents-batch+json"})
        self.assertEqual(answer.status, 202)
        self.assertEqual(json.loads(answer.body), {"accepted": 2, "refused": [
            {"index": 1, "code": "SLUICE_EINVAL", "message": "'id' is missing"}]})
        binary = self.daemon.http("POST", "/events?bus=orders", b"\xff", {"ce-specversion": "1.0", "ce-id": "3", "ce-source": "shop", "ce-type": "t",
                                                                          "Content-Type": "image/png"})
        self.assertEqual(binary.status, 202)
        seen = {line["id"]: line for line in map(json.loads, self.seen(3))}
        self.assertEqual(seen["1"]["detail"], {"n": 1})
        self.assertEqual(seen["1"]["resources"], ["s"])
        self.assertEqual(seen["2"]["detail"], {"data": [1]})
        self.assertEqual(seen["3"]["detail"], {"datacontenttype": "image/png", "data_base64": "/w=="})
        self.assertEqual(self.daemon.http("POST", "/events?bus=nowhere", json.dumps({**event, "id": "4"}),
                                          {"Content-Type": "application/cloudevents+json"}).status, 404)

    def test_what_was_answered_202_is_on_disk(self):
        """The daemon is killed right behind the answer; the next one runs the function."""
        answer = self.daemon.invoke("slow", {}, x_amz_invocation_type="Event")
        self.assertEqual(answer.status, 202)
        self.daemon.kill()
        self.go()
        self.daemon.start()
        self.assertEqual(self.seen(1)[0], answer.headers["x-amzn-RequestId"])
        self.daemon.wait_balance("slow", succeeded=1, pending=0)

    def test_routes(self):
        answer = self.daemon.http("PUT", "/orders/a%20b?x=1", "body", {"Content-Type": "text/plain", "Origin": "https://shop.example"})
        self.assertEqual((answer.status, answer.body, answer.headers["x-id"]), (201, b"PUT body", "a b"))
        self.assertEqual(answer.headers.get_all("Set-Cookie"), ["a=1", "b=2"])
        self.assertEqual(answer.headers["Access-Control-Allow-Origin"], "https://shop.example")
        preflight = self.daemon.http("OPTIONS", "/orders/1", headers={"Origin": "https://shop.example", "Access-Control-Request-Method": "PUT"})
        self.assertEqual((preflight.status, preflight.headers["Access-Control-Allow-Methods"]), (204, "PUT"))
        self.assertEqual(self.daemon.http("DELETE", "/orders/1").status, 405)
        self.assertEqual(self.daemon.http("GET", "/orders").status, 404)

    def test_a_route_comes_with_a_reload(self):
        self.assertEqual(self.daemon.http("GET", "/new").status, 404)
        self.daemon.configure(FUNCTIONS + ROUTES + "  new: {path: /new, function: web}\n")
        self.daemon.wait_for(lambda: self.daemon.http("GET", "/new").status == 201, "the new route")

    def test_function_urls(self):
        self.assertEqual(self.daemon.http("POST", "/url/web/a").status, 201)
        text = self.daemon.http("GET", "/text", headers={"Host": "web.lambda-url.localhost:4566"})
        self.assertEqual((text.status, text.body), (200, b"plain"))
        error = self.daemon.http("GET", "/url/web/error")
        self.assertEqual(error.status, 502)
        self.assertNotIn(b"secret", error.body)
        bad = self.daemon.http("GET", "/url/web/bad")
        self.assertEqual((bad.status, json.loads(bad.body)), (502, {"message": "Internal Server Error"}))
        self.assertIn(f"function=web event=bad-http-response request={bad.headers['x-amzn-RequestId']} text=", self.daemon.wait_log("bad-http-response"))
        self.assertEqual(self.daemon.http("GET", "/url/none").status, 404)
        self.assertEqual(self.daemon.http("GET", "/url/web/a", headers={"Host": "rebound.example"}).status, 403)

    def test_what_is_about_the_connection_alone_does_not_reach_the_function(self):
        host, port = self.daemon.ready["http"].rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port), timeout=sluice_daemon.DEADLINE_S)
        self.addCleanup(connection.close)
        connection.request("POST", "/url/web/names", iter([b"in ", b"chunks"]), {
            "Transfer-Encoding": "chunked", "Connection": "keep-alive, x-hop", "Keep-Alive": "timeout=5", "TE": "trailers", "x-hop": "1", "x-end": "2"},
            encode_chunked=True)
        self.assertEqual(json.loads(connection.getresponse().read()), [
            "accept-encoding", "host", "x-amzn-trace-id", "x-end", "x-forwarded-for", "x-forwarded-port", "x-forwarded-proto"])

    def streamed(self, path):
        """A response of which the beginning is read while the function still runs."""
        host, port = self.daemon.ready["http"].rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port), timeout=sluice_daemon.DEADLINE_S)
        self.addCleanup(connection.close)
        connection.request("GET", path, headers={"Origin": "https://shop.example"})
        answer = connection.getresponse()
        self.assertEqual((answer.status, answer.headers["x-a"]), (207, "b"))
        self.assertEqual(answer.read(6), b"first ")
        self.go()                # only now can it end
        self.assertEqual(answer.read(), b"last")
        return answer

    def test_a_streamed_response_is_read_while_the_function_runs(self):
        self.assertIsNone(self.streamed("/live").headers["Access-Control-Allow-Origin"])

    def test_a_functions_url_streams_and_answers_browsers(self):
        self.assertEqual(self.streamed("/url/stream/").headers["Access-Control-Allow-Origin"], "https://shop.example")
        preflight = self.daemon.http("OPTIONS", "/url/stream/", headers={"Origin": "https://shop.example", "Access-Control-Request-Method": "PUT"})
        self.assertEqual((preflight.status, preflight.headers["Access-Control-Allow-Methods"]), (204, "PUT"))
        shown = json.loads(self.daemon.http("GET", "/2021-10-31/functions/stream/url").body)
        self.assertEqual((shown["InvokeMode"], shown["Cors"]["AllowOrigins"]), ("RESPONSE_STREAM", ["https://shop.example"]))

    def test_a_request_that_comes_twice_is_run_once(self):
        host, port = self.daemon.ready["http"].rsplit(":", 1)
        path, headers = "/2015-03-31/functions/slow/invocations", {"amz-sdk-invocation-id": "27c9a0d4-0000-4000-8000-000000000001"}
        first = http.client.HTTPConnection(host, int(port), timeout=sluice_daemon.DEADLINE_S)
        first.request("POST", path, b"{}", headers)
        self.seen(1)             # it runs
        first.close()            # the SDK gave up, and asks again, twice
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(self.daemon.http("POST", path, b"{}", headers))) for _ in range(2)]
        for thread in threads:
            thread.start()
        repeated = lambda count: f"sluice_http_repeated_requests_total {count}\n" in self.daemon.http("GET", "/metrics").body.decode()
        self.daemon.wait_for(lambda: repeated(2), "both wait for the first one's answer")
        self.go()
        for thread in threads:
            thread.join(sluice_daemon.DEADLINE_S)
        late = self.daemon.http("POST", path, b"{}", headers)
        seen = self.seen(1)
        self.assertEqual(len(seen), 1)
        for answer in [*answers, late]:
            self.assertEqual((answer.status, json.loads(answer.body)["id"]), (200, seen[0]))
        self.assertEqual(len(answers), 2)

    def test_a_streamed_request_that_comes_twice_is_run_once(self):
        host, port = self.daemon.ready["http"].rsplit(":", 1)
        path, headers = "/2021-11-15/functions/stream/response-streaming-invocations", {"amz-sdk-invocation-id": "27c9a0d4-0000-4000-8000-000000000003"}
        first = http.client.HTTPConnection(host, int(port), timeout=sluice_daemon.DEADLINE_S)
        first.request("POST", path, b"{}", headers)
        answer, begun = first.getresponse(), b""
        while b"first " not in begun:
            begun += answer.read1()
        first.close()            # in the middle of it
        answers = []
        second = threading.Thread(target=lambda: answers.append(self.daemon.http("POST", path, b"{}", headers)))
        second.start()
        self.daemon.wait_for(lambda: "sluice_http_repeated_requests_total 1\n" in self.daemon.http("GET", "/metrics").body.decode(), "the second try waits")
        self.go()                # once: a second execution would wait for another
        second.join(sluice_daemon.DEADLINE_S)
        answers.append(self.daemon.http("POST", path, b"{}", headers))
        for answer in answers:
            self.assertEqual(answer.status, 200)
            self.assertTrue(answer.body.index(b"first ") < answer.body.index(b"last") < answer.body.index(b"InvokeComplete"), answer.body)
        self.assertEqual(len(answers), 2)
        self.assertEqual(self.daemon.json("function", "show", "stream")["invokes"]["done"], 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
