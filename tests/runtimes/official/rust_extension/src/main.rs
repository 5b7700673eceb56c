// An external extension made with AWS's own crate. What it hears goes into the file $HEARD, a JSON object a line: {"event": "INVOKE", ...},
// {"event": "SHUTDOWN", ...}, {"telemetry": TYPE, ...} or {"log": TYPE, ...}. It subscribes to $SUBSCRIBES, "telemetry" or "logs", at port $PORT, and
// makes the file $REGISTERED when it has. At SHUTDOWN it works for $LINGER_MS before it says that it is done.
use lambda_extension::{
    service_fn, Error, Extension, LambdaEvent, LambdaLog, LambdaLogRecord, LambdaTelemetry, LambdaTelemetryRecord, LogBuffering, NextEvent,
    SharedService,
};
use serde_json::{json, Value};
use std::{env, fs, io::Write, thread, time::Duration, time::SystemTime, time::UNIX_EPOCH};

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

fn note(what: Value) {
    let mut file = fs::OpenOptions::new().append(true).create(true).open(env::var("HEARD").unwrap()).unwrap();
    file.write_all(format!("{what}\n").as_bytes()).unwrap(); // one write: lines stay whole
}

async fn on_event(event: LambdaEvent) -> Result<(), Error> {
    match event.next {
        NextEvent::Invoke(invoke) => note(json!({"event": "INVOKE", "id": invoke.request_id, "arn": invoke.invoked_function_arn,
                                                 "left": invoke.deadline_ms as i64 - now_ms() as i64, "trace": invoke.tracing.value})),
        NextEvent::Shutdown(shutdown) => {
            note(json!({"event": "SHUTDOWN", "reason": shutdown.shutdown_reason, "left": shutdown.deadline_ms as i64 - now_ms() as i64}));
            thread::sleep(Duration::from_millis(env::var("LINGER_MS").map_or(0, |text| text.parse().unwrap())));
            note(json!({"event": "done"}));
        }
    }
    Ok(())
}

async fn on_telemetry(records: Vec<LambdaTelemetry>) -> Result<(), Error> {
    for record in records {
        note(match record.record {
            LambdaTelemetryRecord::Function(line) => json!({"telemetry": "function", "line": line}),
            LambdaTelemetryRecord::PlatformInitStart { runtime_version, .. } => json!({"telemetry": "platform.initStart", "version": runtime_version}),
            LambdaTelemetryRecord::PlatformInitReport { metrics, .. } => json!({"telemetry": "platform.initReport", "ms": metrics.duration_ms}),
            LambdaTelemetryRecord::PlatformStart { request_id, .. } => json!({"telemetry": "platform.start", "id": request_id}),
            LambdaTelemetryRecord::PlatformRuntimeDone { request_id, status, error_type, .. } =>
                json!({"telemetry": "platform.runtimeDone", "id": request_id, "status": format!("{status:?}"), "error": error_type}),
            LambdaTelemetryRecord::PlatformReport { request_id, status, metrics, .. } =>
                json!({"telemetry": "platform.report", "id": request_id, "status": format!("{status:?}"), "billed": metrics.billed_duration_ms,
                       "memory": metrics.max_memory_used_mb, "init": metrics.init_duration_ms}),
            other => json!({"telemetry": format!("{other:?}").split(' ').next()}),
        });
    }
    Ok(())
}

async fn on_logs(records: Vec<LambdaLog>) -> Result<(), Error> {
    for record in records {
        note(match record.record {
            LambdaLogRecord::Function(line) => json!({"log": "function", "line": line}),
            LambdaLogRecord::PlatformStart { request_id } => json!({"log": "platform.start", "id": request_id}),
            other => json!({"log": format!("{other:?}").split(' ').next()}),
        });
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let port = env::var("PORT")?.parse()?;
    let buffering = LogBuffering { timeout_ms: 25, ..Default::default() };
    let extension = Extension::new().with_events(&["INVOKE", "SHUTDOWN"]).with_events_processor(service_fn(on_event));
    let registered = || fs::write(env::var("REGISTERED").unwrap(), "");
    if env::var("SUBSCRIBES")? == "telemetry" {
        let extension = extension
            .with_telemetry_types(&["platform", "function"])
            .with_telemetry_port_number(port)
            .with_telemetry_buffering(buffering)
            .with_telemetry_processor(SharedService::new(service_fn(on_telemetry)));
        let extension = extension.register().await?;
        registered()?;
        extension.run().await
    } else {
        let extension = extension
            .with_log_types(&["platform", "function"])
            .with_log_port_number(port)
            .with_log_buffering(buffering)
            .with_logs_processor(SharedService::new(service_fn(on_logs)));
        let extension = extension.register().await?;
        registered()?;
        extension.run().await
    }
}
