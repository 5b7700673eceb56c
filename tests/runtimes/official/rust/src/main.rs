// Does what the event says, well or badly: as tests/e2e/lambda do in other languages.
use lambda_runtime::{run, service_fn, Diagnostic, Error, LambdaEvent};
use serde_json::{json, Value};
use std::process::{exit, Command};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn failed(error: impl std::fmt::Display) -> Diagnostic {
    Diagnostic { error_type: "TypeError".into(), error_message: error.to_string() }
}

async fn handle(event: LambdaEvent<Value>) -> Result<Value, Diagnostic> {
    let (asked, context) = event.into_parts();
    let number = |name: &str| asked[name].as_u64().unwrap_or(0);
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
    if std::env::var("INIT").is_ok_and(|init| init == "exit") {
        exit(3);
    }
    run(service_fn(handle)).await
}
