import Training

/// The paper's settings for a family of tasks (arXiv 2511.16147, section 4.1 and tables 1 to 3), for LoRA.
package struct Preset: Sendable, Equatable {
    /// The name on the command line.
    package let name: String
    /// r.
    package let rank: Int
    /// alpha; the paper's scaling is 0.5 throughout.
    package let alpha: Double
    /// Dropout of x.
    package let dropout: Double
    /// Projections, as peft's `target_modules`.
    package let targets: [String]
    /// Peak learning rate.
    package let learningRate: Double
    /// Its shape.
    package let schedule: ScheduleShape
    /// Examples an optimizer step.
    package let batchSize: Int
    /// Passes over the data.
    package let epochs: Int
    /// s of equation 20.
    package let stepSize: Double
    /// lambda of equation 15.
    package let lambda: Double

    /// The preset of that name; throws `unknownName`.
    package static func named(_ name: String) throws(WorkflowError) -> Preset {
        guard let preset = all.first(where: { $0.name == name.lowercased() }) else {
            throw .unknownName(what: "preset", found: name, known: all.map(\.name))
        }
        return preset
    }

    /// Every preset.
    package static let all: [Preset] = [csr, vit] + nlu

    /// Commonsense reasoning, LLaMA-3.1-8B (table 1).
    package static let csr = Preset(
        name: "csr", rank: 32, alpha: 16, dropout: 0.05,
        targets: ["q_proj", "k_proj", "v_proj", "up_proj", "down_proj"], learningRate: 1e-4, schedule: .linear,
        batchSize: 16, epochs: 3, stepSize: 4e-5, lambda: 4.5e-5)

    /// Visual instruction tuning, LLaVA-1.5-7B (table 2).
    package static let vit = Preset(
        name: "vit", rank: 128, alpha: 64, dropout: 0.05,
        targets: ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj", "gate_proj"], learningRate: 2e-4,
        schedule: .cosine, batchSize: 16, epochs: 1, stepSize: 4e-5, lambda: 2e-6)

    /// Language understanding on GLUE, DeBERTaV3-base (table 3).
    package static let nlu: [Preset] = [
        glue("cola", dropout: 0.1, learningRate: 4e-4, epochs: 40, lambda: 6e-6),
        glue("mnli", dropout: 0.15, learningRate: 2.5e-4, epochs: 10, lambda: 1e-5),
        glue("qnli", dropout: 0.1, learningRate: 2e-4, epochs: 10, lambda: 2e-5),
        glue("rte", dropout: 0.2, learningRate: 1e-4, epochs: 80, lambda: 1e-5),
        glue("mrpc", dropout: 0, learningRate: 1e-4, epochs: 60, lambda: 1e-5),
        glue("qqp", dropout: 0.15, learningRate: 4e-4, epochs: 10, lambda: 2e-6),
        glue("sst-2", dropout: 0, learningRate: 4e-4, epochs: 48, lambda: 2e-5),
        glue("sts-b", dropout: 0.2, learningRate: 5e-4, epochs: 45, lambda: 8e-5),
    ]

    private static func glue(
        _ task: String, dropout: Double, learningRate: Double, epochs: Int, lambda: Double
    ) -> Preset {
        Preset(
            name: "nlu-\(task)", rank: 4, alpha: 2, dropout: dropout,
            targets: ["query_proj", "key_proj", "value_proj", "attention.output.dense", "intermediate.dense"],
            learningRate: learningRate, schedule: .linear, batchSize: 32, epochs: epochs, stepSize: 1e-4,
            lambda: lambda)
    }
}
