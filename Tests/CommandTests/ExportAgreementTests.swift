import Adapters
import CheckpointIO
import Compute
import Foundation
import ModelTestSupport
import Models
import TensorCore
import TestSupport
import Testing

/// A Python with torch, transformers, safetensors, peft and gguf; the test's own environment names it.
private let python = ProcessInfo.processInfo.environment["TSPEFT_PYTHON"]

/// Adapters of every method, with our own logits beside them, for `Tests/Scripts/check_exports.py`, which loads their
/// exports into the programs that they are for.
@Suite(.enabled(if: python != nil, "TSPEFT_PYTHON names no Python with torch, transformers and peft"))
struct ExportAgreementTests {
    private struct Case {
        let name: String
        var configuration: AdapterConfiguration
        let isGated: Bool
    }

    private static let basePath = fixture("golden/llama-lora/model")
    private static let targets = TargetSpecification.names([
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    ])

    private static func cases(on base: ModelCheckpoint) throws -> [Case] {
        var cases: [Case] = []
        for kind in AdapterKind.allCases {
            for isGated in [false, true] {
                var adaLoRA = AdaLoRASettings()
                adaLoRA.targetRank = 2
                adaLoRA.initialRank = 4
                adaLoRA.scale = 6
                var configuration = try AdapterConfiguration(
                    kind == .adalora ? adaLoRA : kind.newSettings(rank: 4, alpha: 6), isGated: isGated, targets: targets
                )
                if kind == .adalora {
                    let paths = base.linearModules.map(\.path)
                    adaLoRA.keptRanks = [
                        paths[1]: [true, false, true, true], paths[4]: [false, false, false, false],
                        paths[9]: [false, false, false, true],
                    ]
                    configuration = configuration.with(adaLoRA)
                }
                cases.append(
                    Case(name: configuration.methodName, configuration: configuration, isGated: isGated))
            }
        }
        let patterns = try AdapterConfiguration(
            LoRASettings(
                LowRankNumbers(
                    rank: 4, alpha: 6, usesRSLoRA: true,
                    rankPattern: [.init("q_proj", 7), .init("mlp.up_proj", 2)], alphaPattern: [.init("v_proj", 9)])),
            isGated: false, targets: targets)
        cases.append(Case(name: "rslora-patterns", configuration: patterns, isGated: false))
        let some = try AdapterConfiguration(
            DoRASettings(LowRankNumbers(rank: 4, alpha: 6)), isGated: false,
            targets: .names(["layers.1.self_attn.k_proj", "layers.2.mlp.up_proj"]))
        cases.append(Case(name: "dora-few-modules", configuration: some, isGated: false))
        let biased = try AdapterConfiguration(
            LoRASettings(LowRankNumbers(rank: 4, alpha: 6), hasBias: true), isGated: true, targets: targets)
        cases.append(Case(name: "ts-lora-bias", configuration: biased, isGated: true))
        for (index, activation) in [Activation.relu, .gelu, .silu].enumerated() {
            var settings = ParallelAdapterSettings()
            settings.activation = activation
            settings.scaling = 0.5 + Double(index)
            let configuration = try AdapterConfiguration(
                settings, isGated: true, targets: targets)
            cases.append(Case(name: "ts-adapter-\(activation.rawValue)", configuration: configuration, isGated: true))
        }
        return cases
    }

    @Test func otherProgramsComputeWhatWeCompute() throws {
        try withTemporaryFolder { folder in
            let base = try ModelCheckpoint.open(Self.basePath)
            try link(folder + "/base", to: Self.basePath)
            for (index, one) in try Self.cases(on: base).enumerated() {
                try write(one, on: base, to: folder + "/" + one.name, seed: UInt64(index))
            }
            let process = Process()
            process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
            process.arguments = [
                try #require(python), "-W", "ignore", packageRoot + "/Tests/Scripts/check_exports.py", Program.path,
                folder,
            ]
            process.standardInput = FileHandle.nullDevice
            try process.run()
            process.waitUntilExit()
            #expect(process.terminationStatus == 0)
        }
    }

    /// Writes the adapter with a tau for each gate that skips some of the tokens, its statistics, and logits.
    private func write(_ one: Case, on base: ModelCheckpoint, to folder: String, seed: UInt64) throws {
        let ids = AdaptedModel.tokens(31, seed: 90 + seed)
        let spread: Float = one.configuration.kind == .vera ? 0.4 : 0.1
        var adapter = try randomAdapter(
            one.configuration, on: base, spread: spread, tau: one.isGated ? 0 : nil, seed: seed)
        // With all gates at tau = 0 every token is active, so these are the dense adapter's logits.
        let (dense, open) = try run(adapter, base, ids)
        var logits = dense
        if one.isGated {
            let thresholds = NameTable(
                uniqueKeysWithValues: open.map { ($0.module, Float($0.meanRatio ?? 0)) })
            adapter = try AdapterDirectory(
                configuration: adapter.configuration, modules: adapter.modules,
                tensors: adapter.allTensors, thresholds: thresholds)
            let statistics: [ModuleStatistics]
            (logits, statistics) = try run(adapter, base, ids)
            adapter = adapter.with(statistics)
            #expect(statistics.contains { $0.sparsity > 0 } && statistics.contains { $0.active > 0 })
        }
        mkdir(folder, 0o777)
        try adapter.write(to: folder + "/adapter")
        let width = try base.configuration.vocabularySize
        try SafetensorsWriter.write(
            [
                ("ids", [ids.count], ids.map(Float.init)), ("logits", [ids.count, width], logits),
                ("dense_logits", [ids.count, width], dense),
            ], to: folder + "/logits.safetensors")
        let facts: JSONValue = .object([
            "method": .string(adapter.configuration.methodName), "gated": .bool(one.isGated),
            "has_bias": .bool((adapter.configuration.settings as? LoRASettings)?.hasBias ?? false),
            "saves_modules": .bool(false),
        ])
        try writeFile(folder + "/case.json", facts.text())
    }

    private func run(
        _ adapter: AdapterDirectory, _ base: ModelCheckpoint, _ ids: [Int32]
    ) throws -> (logits: [Float], statistics: [ModuleStatistics]) {
        let model = try base.makeModel(ComputeContext(dtype: .f32, threadCount: 1))
        let injected = try InjectedAdapter(
            into: model, adapter.configuration, tensors: adapter.allTensors,
            thresholds: adapter.thresholds, source: "test")
        let collector = StatisticsCollector(collectingInnerSums: false)
        let observer = adapter.configuration.isGated ? collector : nil
        let logits = try withExtendedLifetime(injected) {
            try AdaptedModel.logits(model, [ids], observer: observer)
        }
        return (logits, collector.statistics)
    }
}
