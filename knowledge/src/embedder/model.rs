//! The model on its own thread, fed by a bounded queue.

use anyhow::{Context, bail};
use fastembed::{
    InitOptionsUserDefined, Pooling, TextEmbedding, TokenizerFiles, UserDefinedEmbeddingModel,
};
use midwatch_clients::embeddings::DIMENSION;
use std::path::{Path, PathBuf};
use tokio::sync::{mpsc, oneshot, watch};

/// Tokens of a text that the model reads; what follows is cut off. The model
/// was trained on sequences of this length.
pub const MAX_TOKENS: usize = 256;
/// Requests that wait at most. With the limits of the API this bounds waiting
/// texts to some 128 MB; more waiting would only turn into time-outs.
const QUEUE: usize = 16;
/// One thread computes a sentence in a few milliseconds. More would spin while
/// they wait and take the cores from everything else on the machine.
const THREADS: usize = 1;

/// Where library and model lie.
#[derive(Clone, Debug)]
pub struct ModelFiles {
    /// `libonnxruntime.so…`.
    pub library: PathBuf,
    /// Folder with the model and its tokenizer.
    pub dir: PathBuf,
}

impl ModelFiles {
    /// Checks that every file is there: the runtime panics without its library.
    ///
    /// # Errors
    /// Names the variable, the file and what belongs there.
    pub fn check(&self) -> anyhow::Result<()> {
        if !self.library.is_file() {
            bail!(
                "ORT_DYLIB_PATH is {}, where there is no file; point it to ONNX Runtime's libonnxruntime.so (1.24 or newer)",
                self.library.display()
            );
        }
        for name in [
            "model.onnx",
            "tokenizer.json",
            "config.json",
            "special_tokens_map.json",
            "tokenizer_config.json",
        ] {
            if !self.dir.join(name).is_file() {
                bail!(
                    "MODEL_DIR is {}, where {name} is missing; it has to hold all-MiniLM-L6-v2 as ONNX with its tokenizer files",
                    self.dir.display()
                );
            }
        }
        Ok(())
    }
}

/// Vectors of one request.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedded {
    /// One per text, in order, of length 1.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens read, over all texts.
    pub tokens: usize,
}

/// Why a request got no vectors.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error("{QUEUE} requests are waiting already; try again in a second")]
    Busy,
    #[error("the model is not running")]
    Stopped,
    #[error("the model failed: {0}")]
    Failed(String),
}

struct Job {
    texts: Vec<String>,
    reply: oneshot::Sender<Result<Embedded, ModelError>>,
}

/// Sends texts to the model's thread. The thread ends with the last handle.
#[derive(Clone)]
pub struct ModelHandle {
    jobs: mpsc::Sender<Job>,
    ready: watch::Receiver<bool>,
}

impl ModelHandle {
    /// Starts the thread, which loads the model. The receiver yields the
    /// reason when the thread ends by itself.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(
        files: ModelFiles,
    ) -> anyhow::Result<(ModelHandle, oneshot::Receiver<anyhow::Error>)> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let (loaded, ready) = watch::channel(false);
        let (ended, end) = oneshot::channel();
        std::thread::Builder::new()
            .name("model".to_owned())
            .spawn(move || {
                match load(&files) {
                    Ok(model) => {
                        loaded.send_replace(true);
                        serve(model, queue);
                    }
                    // Nobody listens any more only when the process is ending.
                    Err(error) => drop(ended.send(error)),
                }
            })
            .context("no thread for the model")?;
        Ok((ModelHandle { jobs, ready }, end))
    }

    /// Whether the model is loaded and has embedded a first text.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// The vectors of `texts`. A caller that gives up drops its place.
    ///
    /// # Errors
    /// [`ModelError`].
    pub async fn embed(&self, texts: Vec<String>) -> Result<Embedded, ModelError> {
        let (reply, answer) = oneshot::channel();
        self.jobs
            .try_send(Job { texts, reply })
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => ModelError::Busy,
                mpsc::error::TrySendError::Closed(_) => ModelError::Stopped,
            })?;
        answer.await.map_err(|_| ModelError::Stopped)?
    }
}

fn load(files: &ModelFiles) -> anyhow::Result<TextEmbedding> {
    files.check()?;
    let read = |name: &str| read_file(&files.dir, name);
    let library = || {
        format!(
            "the library at {} (ORT_DYLIB_PATH) cannot be used",
            files.library.display()
        )
    };
    let environment = ort::init_from(&files.library)
        .with_context(library)?
        .build()
        .with_context(library)?;
    let tokenizer = TokenizerFiles {
        tokenizer_file: read("tokenizer.json")?,
        config_file: read("config.json")?,
        special_tokens_map_file: read("special_tokens_map.json")?,
        tokenizer_config_file: read("tokenizer_config.json")?,
    };
    let model =
        UserDefinedEmbeddingModel::new(read("model.onnx")?, tokenizer).with_pooling(Pooling::Mean);
    let options = InitOptionsUserDefined::new()
        .with_environment(environment)
        .with_max_length(MAX_TOKENS)
        .with_intra_threads(THREADS);
    let mut model =
        TextEmbedding::try_new_from_user_defined(model, options).with_context(|| {
            format!(
                "the model in {} (MODEL_DIR) cannot be loaded",
                files.dir.display()
            )
        })?;
    let probe = embed(&mut model, &["ready".to_owned()], || false)
        .with_context(|| format!("the model in {} does not work", files.dir.display()))?;
    let length = probe.vectors.first().map_or(0, Vec::len);
    if length != DIMENSION {
        bail!(
            "the model in {} gives vectors of {length} numbers instead of {DIMENSION}; MODEL_DIR has to hold all-MiniLM-L6-v2",
            files.dir.display()
        );
    }
    Ok(model)
}

fn read_file(dir: &Path, name: &str) -> anyhow::Result<Vec<u8>> {
    let path = dir.join(name);
    std::fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))
}

fn serve(mut model: TextEmbedding, mut queue: mpsc::Receiver<Job>) {
    while let Some(job) = queue.blocking_recv() {
        let result = embed(&mut model, &job.texts, || job.reply.is_closed())
            .map_err(|error| ModelError::Failed(format!("{error:#}")));
        // The caller may have given up in the meantime.
        job.reply.send(result).ok();
    }
}

/// Embeds one text at a time. The int8 model scales its numbers to the range
/// of the whole batch, so in a batch the same text would get another vector
/// with other neighbours; and on one thread a batch is hardly faster.
/// Stops early once nobody waits for the result any more.
fn embed(
    model: &mut TextEmbedding,
    texts: &[String],
    given_up: impl Fn() -> bool,
) -> anyhow::Result<Embedded> {
    let mut vectors = Vec::with_capacity(texts.len());
    let mut tokens = 0;
    for text in texts {
        if given_up() {
            bail!("the caller has given up");
        }
        tokens += model
            .tokenizer
            .encode(text.as_str(), true)
            .map_err(|error| anyhow::anyhow!("a text cannot be read as tokens: {error}"))?
            .get_attention_mask()
            .iter()
            .filter(|mask| **mask == 1)
            .count();
        vectors.extend(model.embed([text], Some(1))?);
    }
    Ok(Embedded { vectors, tokens })
}
