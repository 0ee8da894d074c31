//! The API over real HTTP, on a port and a database of its own.

use crate::fixture::Scratch;
use midwatch_api::series::Recent;
use midwatch_api::topics::Topics;
use midwatch_api::{App, serve};
use midwatch_clients::kafka::KafkaSettings;
use midwatch_runtime::Shutdown;
use serde_json::Value;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The API on a port and a database of its own.
pub struct Server {
    pub address: String,
    pub scratch: Scratch,
    pub app: App,
    pub client: reqwest::Client,
    pub switch: watch::Sender<bool>,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Server {
    pub async fn start() -> Server {
        Server::with(KafkaSettings::at("127.0.0.1:1"), Recent::default(), |_| {}).await
    }

    /// A server with this broker and these readings, and what `change` sets.
    pub async fn with(
        kafka: KafkaSettings,
        recent: Recent,
        change: impl FnOnce(&mut App),
    ) -> Server {
        let scratch = Scratch::create().await;
        let (switch, shutdown) = Shutdown::channel();
        let mut app = App::new(&scratch.pool, recent, Topics::new(kafka), shutdown);
        change(&mut app);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let task = tokio::spawn(serve(app.clone(), listener));
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(30))
            .build()
            .expect("a client");
        Server {
            address,
            scratch,
            app,
            client,
            switch,
            task,
        }
    }

    pub async fn stop(self) {
        self.switch.send_replace(true);
        self.task.await.expect("no panic").expect("a clean end");
        self.app.pool.close().await;
        self.app.resender.close().await;
        self.scratch.close().await;
    }

    pub async fn get(&self, path: &str) -> reqwest::Response {
        let url = format!("http://{}{path}", self.address);
        self.client
            .get(url)
            .header("accept", "text/html")
            .send()
            .await
            .expect("an answer")
    }

    pub async fn json(&self, path: &str) -> Value {
        let response = self.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        serde_json::from_str(&text(response).await).expect("JSON")
    }

    pub async fn refused(&self, path: &str, status: u16) -> Value {
        let response = self.get(path).await;
        assert_eq!(response.status(), status, "{path}");
        let body: Value = serde_json::from_str(&text(response).await).expect("JSON");
        body["error"].clone()
    }

    pub async fn page(&self, path: &str) -> String {
        let response = self.get(path).await;
        let policy = response.headers()["content-security-policy"]
            .to_str()
            .expect("text")
            .to_owned();
        assert!(
            policy.contains("default-src 'self'") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert_eq!(
            response.headers()["content-type"],
            "text/html; charset=utf-8",
            "{path}"
        );
        text(response).await
    }
}

async fn text(response: reqwest::Response) -> String {
    response.text().await.expect("a body")
}
