//! The topic page over real HTTP.

use midwatch_api::topic_page::{self, TopicPage};
use midwatch_api::topics::Topics;
use midwatch_clients::kafka::KafkaSettings;
use midwatch_runtime::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

const LIMIT: Duration = Duration::from_secs(40);

/// The topic page on a port of its own.
pub struct Server {
    pub address: String,
    switch: watch::Sender<bool>,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
    client: reqwest::Client,
}

impl Server {
    pub async fn start(settings: KafkaSettings) -> Server {
        let (switch, shutdown) = Shutdown::channel();
        let topics = Arc::new(Topics::new(settings));
        let page = TopicPage::new(topics, Some(8000), shutdown);
        let any = "127.0.0.1:0".parse().expect("an address");
        let listener = topic_page::listen(any).await;
        let listener = listener.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let task = tokio::spawn(topic_page::serve(page, Some(listener)));
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(40))
            .build()
            .expect("a client");
        Server {
            address,
            switch,
            task,
            client,
        }
    }

    /// Status, headers and body of a page.
    pub async fn get(&self, path: &str) -> (u16, reqwest::header::HeaderMap, String) {
        let response = self
            .client
            .get(format!("http://{}{path}", self.address))
            .header("accept", "text/html")
            .send()
            .await
            .expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        (status, headers, response.text().await.expect("a body"))
    }

    /// A page that must be there.
    pub async fn page(&self, path: &str) -> String {
        let (status, headers, body) = self.get(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        let policy = headers["content-security-policy"].to_str().expect("text");
        assert!(policy.contains("default-src 'self'") && !policy.contains("unsafe"));
        body
    }

    /// Asks until `enough`, since the broker is read at most every 2 s.
    pub async fn page_with(&self, path: &str, enough: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + LIMIT;
        loop {
            let body = self.page(path).await;
            if enough(&body) {
                return body;
            }
            assert!(Instant::now() < deadline, "{path} never showed it: {body}");
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    pub async fn json(&self) -> serde_json::Value {
        let (_, _, body) = self.get("/api/topics").await;
        serde_json::from_str(&body).expect("JSON")
    }

    pub async fn post(&self, path: &str) -> u16 {
        let url = format!("http://{}{path}", self.address);
        let response = self.client.post(url).send().await.expect("an answer");
        response.status().as_u16()
    }

    /// Ends the process's shutdown wait without waiting for it.
    pub fn switch_off(&self) {
        self.switch.send_replace(true);
    }

    pub async fn stop(self) {
        self.switch_off();
        self.task.await.expect("no panic").expect("a clean end");
    }
}
