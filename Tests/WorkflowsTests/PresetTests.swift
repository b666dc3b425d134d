import Adapters
import Testing
import Training

@testable import TSPEFT

/// The presets against the paper's tables: table 6 for LoRA, the text of A.4 for s, tables 1 to 3 for lambda.
@Suite struct PresetTests {
    @Test func presetNamesItsTargetsForEachArchitecture() throws {
        let nlu = try Preset.named("nlu-cola")
        func targets(_ preset: Preset, _ names: String, below layer: String) -> [String] {
            preset.targets(in: names.split(separator: " ").map { "\(layer).\($0)" } + ["classifier"])
        }
        let deberta = "attention.self.query_proj attention.self.key_proj attention.self.value_proj "
        let rest = "attention.output.dense intermediate.dense output.dense"
        #expect(targets(nlu, deberta + rest, below: "deberta.encoder.layer.0") == nlu.targets)
        let bert = "attention.self.query attention.self.key attention.self.value "
        let bertNames = ["query", "key", "value", "attention.output.dense", "intermediate.dense"]
        #expect(targets(nlu, bert + rest, below: "encoder.layer.0") == bertNames)
        #expect(
            targets(nlu, "attn.Wqkv attn.Wo mlp.Wi mlp.Wo", below: "model.layers.3")
                == ["attn.Wqkv", "attn.Wo", "mlp.Wi"])
        let attention = "self_attn.q_proj self_attn.k_proj self_attn.v_proj self_attn.o_proj "
        let llama = attention + "mlp.gate_proj mlp.up_proj mlp.down_proj"
        #expect(
            targets(nlu, llama, below: "model.layers.0") == ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj"])
        #expect(targets(.vit, llama, below: "model.layers.0") == Preset.vit.targets)
        #expect(
            targets(.vit, attention + "mlp.gate_up_proj mlp.down_proj", below: "model.layers.0")
                == ["q_proj", "k_proj", "v_proj", "o_proj", "gate_up_proj", "down_proj"])
        let fused = "self_attn.qkv_proj self_attn.o_proj mlp.gate_up_proj mlp.down_proj"
        #expect(
            targets(.csr, fused, below: "model.layers.0") == ["qkv_proj", "gate_up_proj", "down_proj"])
        // Nothing that is known: the paper's names, which injection then says are not there.
        #expect(targets(nlu, "a b", below: "h.0") == nlu.targets)
    }

    /// A row as the paper prints it.
    struct Row: CustomTestStringConvertible, Sendable {
        let text: String
        var testDescription: String { String(text.prefix { $0 != " " }) }
    }

    // Task, rank, scale, dropout, learning rate, scheduler, batch, epochs, targets, s, lambda.
    static let rows = [
        "csr       32 0.5 0.05 1e-4   linear 16  3 Q,K,V,Up,Down        4e-5 4.5e-5",
        "vit      128 0.5 0.05 2e-4   cosine 16  1 Q,K,V,O,Up,Down,Gate 4e-5 2e-6",
        "nlu-cola   4 0.5 0.1  4e-4   linear 32 40 Q,K,V,O,I            1e-4 6e-6",
        "nlu-mnli   4 0.5 0.15 2.5e-4 linear 32 10 Q,K,V,O,I            1e-4 1e-5",
        "nlu-qnli   4 0.5 0.1  2e-4   linear 32 10 Q,K,V,O,I            1e-4 2e-5",
        "nlu-rte    4 0.5 0.2  1e-4   linear 32 80 Q,K,V,O,I            1e-4 1e-5",
        "nlu-mrpc   4 0.5 0    1e-4   linear 32 60 Q,K,V,O,I            1e-4 1e-5",
        "nlu-qqp    4 0.5 0.15 4e-4   linear 32 10 Q,K,V,O,I            1e-4 2e-6",
        "nlu-sst-2  4 0.5 0    4e-4   linear 32 48 Q,K,V,O,I            1e-4 2e-5",
        "nlu-sts-b  4 0.5 0.2  5e-4   linear 32 45 Q,K,V,O,I            1e-4 8e-5",
    ].map(Row.init)

    /// The paper's letters as names of Llama's projections, and of DeBERTa's where there is an I (intermediate).
    static func targets(_ letters: Substring) -> [String] {
        let llama = [
            "Q": "q_proj", "K": "k_proj", "V": "v_proj", "O": "o_proj", "Up": "up_proj", "Down": "down_proj",
            "Gate": "gate_proj",
        ]
        let deberta = [
            "Q": "query_proj", "K": "key_proj", "V": "value_proj", "O": "attention.output.dense",
            "I": "intermediate.dense",
        ]
        let list = letters.split(separator: ",").map(String.init)
        return list.compactMap { list.contains("I") ? deberta[$0] : llama[$0] }
    }

    static func settings(_ kind: AdapterKind, _ preset: Preset) throws -> any MethodSettings {
        try kind.settings.init(options: FieldReader([:], file: "none"), paper: preset.numbers)
    }

    @Test(arguments: rows) func presetHasThePapersValues(_ row: Row) throws {
        let cells = row.text.split(separator: " ")
        try #require(cells.count == 11)
        let preset = try Preset.named(String(cells[0]))
        #expect(preset.rank == Int(cells[1]))
        #expect(preset.scaling == Double(cells[2]))
        let loRA = try Self.settings(.lora, preset)
        #expect(loRA.rank == preset.rank && loRA.alpha == preset.scaling * Double(preset.rank))
        #expect(preset.dropout == Double(cells[3]))
        #expect(preset.learningRate == Double(cells[4]))
        #expect(preset.schedule.rawValue == String(cells[5]))
        #expect(preset.batchSize == Int(cells[6]))
        #expect(preset.epochs == Int(cells[7]))
        #expect(Set(preset.targets) == Set(Self.targets(cells[8])) && preset.targets.count == Set(preset.targets).count)
        #expect(preset.stepSize == Double(cells[9]))
        #expect(preset.lambda(for: .lora) == Double(cells[10]))
    }

    // Task; lambda of DoRA, AdaLoRA and the parallel adapter (- where the paper has none), AdaLoRA's first rank.
    static let methodRows = [
        "csr       1e-5 1e-4   -       64", "vit       1e-6 5e-7   -      256", "nlu-cola  -    5e-6   4.5e-7  8",
        "nlu-mnli  -    9e-6   5e-7    8", "nlu-qnli  -    4.5e-7 4.5e-7  8", "nlu-rte   -    2e-6   2e-6    8",
        "nlu-mrpc  -    2e-8   2e-8    8", "nlu-qqp   -    5e-7   5e-7    8", "nlu-sst-2 -    2e-6   2e-6    8",
        "nlu-sts-b -    5e-6   5e-6    8",
    ].map(Row.init)

    @Test(arguments: methodRows) func presetDependsOnTheMethod(_ row: Row) throws {
        let cells = row.text.split(separator: " ")
        let preset = try Preset.named(String(cells[0]))
        for (kind, cell) in zip([AdapterKind.dora, .adalora, .adapter], cells[1...3]) {
            #expect(preset.lambda(for: kind) == Double(cell) ?? preset.lambda(for: .lora))
        }
        #expect(preset.lambda(for: .vera) == preset.lambda(for: .lora))
        let first = try #require(Int(cells[4]))
        let adaLoRA = try Self.settings(.adalora, preset)
        #expect(adaLoRA.rank == first && adaLoRA.alpha == Double(first) / 2)
        #expect(preset.adapterSize == (preset.name.hasPrefix("nlu") ? 32 : nil))
        let own = try AdapterKind.vera.settings.init(options: FieldReader([:], file: "none"), paper: nil)
        #expect(try Self.settings(.vera, preset).rank == own.rank)
    }

    @Test func everyPresetIsInTheTable() {
        #expect(Preset.all.map(\.name) == Self.rows.map(\.testDescription))
        #expect(throws: WorkflowError.unknownName(what: "preset", found: "nlu", known: Preset.all.map(\.name))) {
            try Preset.named("nlu")
        }
    }
}
