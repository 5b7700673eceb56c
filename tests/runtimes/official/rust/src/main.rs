// What tests ask of a function, by the event's "do". The same in each language here.
use lambda_runtime::{run, service_fn, Error, LambdaEvent};
use serde_json::{json, Value};

async fn handle(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let asked = event.payload;
    let number = |name: &str| asked[name].as_u64().unwrap_or(0);
    match asked["do"].as_str() {
        Some("fail") => Err("failed as asked".into()),
        Some("panic") => panic!("panicked as asked"),
        Some("exit") => std::process::exit(number("code") as i32),
        Some("large") => Ok(json!("x".repeat(number("size") as usize))),
        Some("sleep") => {
            tokio::time::sleep(std::time::Duration::from_millis(number("ms"))).await;
            Ok(json!("slept"))
        }
        _ => Ok(asked),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(handle)).await
}
