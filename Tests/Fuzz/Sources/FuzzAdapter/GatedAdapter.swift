import Adapters
import CheckpointIO
import Glibc
import Models
import TensorCore

/// A small gated adapter with statistics, on a random model of the repository's `Fixtures`.
package struct GatedAdapter {
    /// The base's checkpoint.
    package let base: ModelCheckpoint
    /// LoRA of rank 2 on each q_proj and v_proj.
    package let adapter: AdapterDirectory

    /// The model's folder.
    package static var modelPath: String {
        guard let root = getenv("TSPEFT_FIXTURES") else {
            fatalError("TSPEFT_FIXTURES must name the repository's Fixtures")
        }
        return String(cString: root) + "/golden/llama-lora/model"
    }

    /// The method's settings on the modules called `targets`.
    package static func configuration(targets: String) throws -> AdapterConfiguration {
        try AdapterConfiguration(
            LoRASettings(LowRankNumbers(rank: 2, alpha: 2, dropout: 0)), isGated: true,
            targets: TargetSpecification(argument: targets))
    }

    /// Makes it.
    package init() throws {
        base = try ModelCheckpoint.open(Self.modelPath)
        let configuration = try Self.configuration(targets: "q_proj,v_proj")
        let modules = try configuration.match(base.linearModules).modules
        let stream = RandomStream(seed: 5)
        let statistics = modules.enumerated().map { place, module in
            var entry = ModuleStatistics(module: module.path, rank: 2)
            (entry.tokens, entry.active, entry.ratioHistogram[3]) = (9, place, 9)
            (entry.sumUpdateSquared, entry.sumActiveUpdateSquared, entry.sumBaseSquared) = (2, 1, 8)
            return entry
        }
        adapter = try AdapterDirectory(
            configuration: configuration, modules: modules.map(\.path),
            tensors: modules.flatMap { module in
                LoRA.initialTensors(module, configuration, stream.forked(module.path)) { _ in [] }
            },
            thresholds: NameTable(uniqueKeysWithValues: modules.map { ($0.path, 0.1) }),
            statistics: AdapterStatistics(source: "dev.json", modules: statistics),
            origin: AdapterOrigin(base: try base.fingerprint()))
    }
}
