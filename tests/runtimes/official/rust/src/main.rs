// Does what the event says, well or badly: as tests/e2e/lambda do in other languages.
use lambda_runtime::streaming::{channel, Body, Response};
use lambda_runtime::{run, service_fn, Diagnostic, Error, FunctionResponse, LambdaEvent};
use serde_json::{json, Value};
use std::env::var;
use std::path::Path;
use std::process::{exit, Command};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn failed(error: impl std::fmt::Display) -> Diagnostic {
    Diagnostic { error_type: "TypeError".into(), error_message: error.to_string() }
}

fn number(asked: &Value, name: &str) -> u64 {
    asked[name].as_u64().unwrap_or(0)
}

// An answer bit by bit; what comes behind the first piece waits for a file, by which the test says that it has read that.
fn pieces(asked: Value) -> Body {
    let (mut out, body) = channel();
    tokio::spawn(async move {
        out.send_data("first ".into()).await?;
        while asked["after"].as_str().is_some_and(|file| !Path::new(file).exists()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        match asked["do"].as_str() {
            Some("error") => return Ok(out.abort()),
            Some("exit") => exit(number(&asked, "status") as i32),
            Some("sleep") => tokio::time::sleep(Duration::from_millis(number(&asked, "ms"))).await,
            Some("big") => {
                let mut left = number(&asked, "bytes") as usize;
                while left > 0 {
                    let len = left.min(65536);
                    out.send_data("x".repeat(len).into()).await?;
                    left -= len;
                }
            }
            _ => (),
        }
        out.send_data("second".into()).await
    });
    body
}

async fn handle(event: LambdaEvent<Value>) -> Result<FunctionResponse<Value, Body>, Diagnostic> {
    if var("_HANDLER").is_ok_and(|handler| handler == "stream") {
        return Ok(FunctionResponse::StreamingResponse(Response::from(pieces(event.payload))));
    }
    whole(event).await.map(FunctionResponse::BufferedResponse)
}

async fn whole(event: LambdaEvent<Value>) -> Result<Value, Diagnostic> {
    let (asked, context) = event.into_parts();
    let number = |name: &str| number(&asked, name);
    Ok(match asked["do"].as_str() {
        Some("error") => return Err(failed(asked["message"].as_str().unwrap_or("said so"))),
        Some("panic") => panic!("panicked as asked"),
        Some("exit") => exit(number("status") as i32),
        Some("big") => json!("x".repeat(number("bytes") as usize - 2)), // two quotes around it
        Some("size") => json!(asked.to_string().len()),
        Some("sleep") => {
            tokio::time::sleep(Duration::from_millis(number("ms"))).await;
            json!("slept")
        }
        Some("children") => {
            Command::new("setsid").args(["sleep", "1000"]).spawn().map_err(failed)?;
            json!("left")
        }
        Some("context") => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(failed)?.as_millis() as i64;
            json!({"id": context.request_id, "arn": context.invoked_function_arn, "name": context.env_config.function_name,
                   "left": context.deadline as i64 - now, "client": null})
        }
        Some("log") => {
            println!("{}", asked["message"].as_str().unwrap_or(""));
            json!("logged")
        }
        _ => asked,
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    match var("INIT").as_deref() {
        Ok("throw") => return Err("no init today".into()),
        Ok("exit") => exit(var("INIT_STATUS")?.parse()?),
        _ => (),
    }
    run(service_fn(handle)).await
}
