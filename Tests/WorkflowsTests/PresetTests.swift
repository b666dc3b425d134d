import Testing
import Training
import Workflows

/// The presets against the paper's tables: table 6 for LoRA, the text of A.4 for s, tables 1 to 3 for lambda.
@Suite struct PresetTests {
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

    @Test(arguments: rows) func presetHasThePapersValues(_ row: Row) throws {
        let cells = row.text.split(separator: " ")
        try #require(cells.count == 11)
        let preset = try Preset.named(String(cells[0]))
        #expect(preset.rank == Int(cells[1]))
        #expect(preset.alpha / Double(preset.rank) == Double(cells[2]))
        #expect(preset.dropout == Double(cells[3]))
        #expect(preset.learningRate == Double(cells[4]))
        #expect(preset.schedule.rawValue == String(cells[5]))
        #expect(preset.batchSize == Int(cells[6]))
        #expect(preset.epochs == Int(cells[7]))
        #expect(Set(preset.targets) == Set(Self.targets(cells[8])) && preset.targets.count == Set(preset.targets).count)
        #expect(preset.stepSize == Double(cells[9]))
        #expect(preset.lambda == Double(cells[10]))
    }

    @Test func everyPresetIsInTheTable() {
        #expect(Preset.all.map(\.name) == Self.rows.map(\.testDescription))
        #expect(throws: WorkflowError.unknownName(what: "preset", found: "nlu", known: Preset.all.map(\.name))) {
            try Preset.named("nlu")
        }
    }
}
