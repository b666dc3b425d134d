import Adapters
import CheckpointIO
import Models
import TensorCore
import TestSupport
import Testing
import Tokenization

@testable import Transforms

@Suite struct ConversionTests {
    /// A dense rank-2 adapter over the tiny model's query and down projections.
    func adapter(of base: ModelCheckpoint) throws -> AdapterDirectory {
        let configuration = try AdapterConfiguration(
            LoRASettings(rank: 2, alpha: 2), isGated: false, targets: .names(["q_proj", "down_proj"]))
        let modules = try configuration.match(base.linearModules).modules
        var random = RandomStream(seed: 9)
        func values(_ count: Int) -> [Float] { (0..<count).map { _ in Float(random.nextUniform() - 0.5) / 4 } }
        return try AdapterDirectory(
            configuration: configuration, modules: modules.map(\.path),
            tensors: modules.flatMap {
                [
                    AdapterTensor(
                        PEFTNames.key($0.path, PEFTNames.loraA), [2, $0.inputSize], values(2 * $0.inputSize)),
                    AdapterTensor(
                        PEFTNames.key($0.path, PEFTNames.loraB), [$0.outputSize, 2], values(2 * $0.outputSize)),
                ]
            })
    }

    @Test func ggufBaseGivesTheCheckpointThatItsHuggingFaceTwinGives() throws {
        try withTemporaryFolder { folder in
            let twin = try ModelCheckpoint.open(fixture("tiny-llama"))
            let gguf = try ModelCheckpoint.open(fixture("tiny-llama-gguf/tiny-llama-bf16.gguf"))
            let adapter = try adapter(of: twin)
            let expected = try CheckpointMerge(base: twin, adapter: adapter).write(to: folder + "/twin")
            let report = try CheckpointMerge(base: gguf, adapter: adapter).write(to: folder + "/out")
            #expect(report.mergedCount == 12)
            #expect(report.changedCount == expected.changedCount)
            #expect(report.largestChange == expected.largestChange)
            let merged = try ModelCheckpoint.open(folder + "/out")
            let reference = try ModelCheckpoint.open(folder + "/twin")
            #expect(Set(merged.tensorNames) == Set(reference.tensorNames))
            for name in reference.tensorNames {
                let isSame = try bytes(merged.checkpoint, name) == bytes(reference.checkpoint, name)
                #expect(isSame, "\(name)")
            }
            #expect(try merged.configuration.inverseFrequencies == reference.configuration.inverseFrequencies)
            #expect(try merged.configuration.tiedEmbeddings)
            #expect(try merged.configuration.eosTokenIDs == reference.configuration.eosTokenIDs)
        }
    }

    @Test func writtenTokenizerGivesTheSameIds() throws {
        try withTemporaryFolder { folder in
            let path = fixture("tiny-llama-gguf/tiny-llama-q8_0.gguf")
            let base = try ModelCheckpoint.open(path)
            let report = try CheckpointMerge(base: base, adapter: try adapter(of: base)).write(to: folder + "/out")
            #expect(report.dtypes == ["BF16"])
            #expect(report.total.changedShare > 0.9)
            let texts = ["The film is good.", "  two  spaces\n\n\tand tabs", "naïve 🙂 漢字 12345 don't", ""]
            let written = try Tokenizer.load(modelPath: folder + "/out")
            let original = try Tokenizer.load(modelPath: path)
            let twin = try Tokenizer.load(modelPath: fixture("tiny-llama"))
            for text in texts {
                #expect(written.encode(text) == original.encode(text))
                #expect(written.encode(text) == twin.encode(text))
            }
            #expect(written.bosTokenID == original.bosTokenID)
            #expect(written.eosTokenID == original.eosTokenID)
        }
    }

    @Test func configurationReadsBackForEveryScaling() throws {
        let bytes = try readSmallFile(fixture("golden/llama-lora-dense/model/config.json"), limit: 1 << 20)
        let llama3 = try ArchitectureTable.read(configuration: try JSONValue.parse(bytes), file: "config.json")
        let written = try HuggingFaceConfiguration.config(
            of: llama3, dtype: .bf16, tiedEmbeddings: true, paddingTokenID: llama3.configuration.padTokenID, file: "f")
        let read = try ArchitectureTable.read(configuration: written, file: "config.json")
        #expect(read.configuration == llama3.configuration)
    }

    /// A SentencePiece vocabulary over a, b, c and the mark: scores fall with the id, so that no two pairs tie.
    static var scored: GGUFVocabulary {
        let bytes = (0...255).map { byte -> [UInt8] in
            let digits = String(byte, radix: 16, uppercase: true)
            return Array("<0x\(digits.count == 1 ? "0" : "")\(digits)>".utf8)
        }
        let pieces = ["▁a", "ab", "bc", "abc", "▁ab", "ca", "cab", "▁", "a", "b", "c", "é", "▁abc"]
        var vocabulary = GGUFVocabulary(
            file: "f", model: "llama",
            tokens: ["<unk>", "<s>", "</s>"].map { Array($0.utf8) } + bytes + pieces.map { Array($0.utf8) })
        vocabulary.types = [.unknown, .control, .control]
        vocabulary.types += [GGUFVocabulary.TokenType](repeating: .byte, count: 256)
        vocabulary.types += [GGUFVocabulary.TokenType](repeating: .normal, count: pieces.count)
        vocabulary.scores = vocabulary.tokens.indices.map { -Float($0) }
        vocabulary.bosTokenID = 1
        vocabulary.eosTokenID = 2
        vocabulary.unknownTokenID = 0
        return vocabulary
    }

    @Test func scoredPiecesGiveTheSameIdsAsMerges() throws {
        try withTemporaryFolder { folder in
            let export = GGUFTokenizerExport(Self.scored)
            let directory = try AtomicDirectory(folder + "/out")
            try directory.write("tokenizer.json", text: try export.tokenizer())
            try directory.write("tokenizer_config.json", text: export.configuration.text(indent: 2))
            try directory.commit()
            let written = try Tokenizer.load(modelPath: folder + "/out")
            let original = try Self.scored.makeTokenizer()
            var random = RandomStream(seed: 12)
            for _ in 0..<200 {
                let length = random.nextIndex(below: 12)
                let text = String((0..<length).map { _ in Array("aabbcc é\n")[random.nextIndex(below: 9)] })
                #expect(written.encode(text) == original.encode(text), "'\(text)'")
                #expect(
                    written.encode(text, addingSpecialTokens: true) == original.encode(text, addingSpecialTokens: true))
                #expect(written.decode(original.encode(text)) == original.decode(original.encode(text)))
            }
        }
    }

    @Test func llama3sFactorsBecomeItsScalingAndOthersAreRefused() throws {
        let bytes = try readSmallFile(fixture("golden/llama-lora-dense/model/config.json"), limit: 1 << 20)
        guard case .object(var members) = try JSONValue.parse(bytes) else { return }
        members["rope_parameters"] = nil
        members["rope_theta"] = .integer(500_000)
        members["head_dim"] = .integer(16)
        let plain = try ArchitectureTable.read(configuration: .object(members), file: "f").configuration
        members["rope_scaling"] = .object([
            "rope_type": .string("llama3"), "factor": .integer(32), "low_freq_factor": .integer(1),
            "high_freq_factor": .integer(4), "original_max_position_embeddings": .integer(8192),
        ])
        let scaled = try ArchitectureTable.read(configuration: .object(members), file: "f").configuration
        var factors = zip(plain.inverseFrequencies, scaled.inverseFrequencies).map { $0 / $1 }
        members["rope_scaling"] = nil
        let written = try HuggingFaceConfiguration.adding(
            .factors(factors), scaled.inverseFrequencies, to: members, file: "f")
        #expect(written["rope_scaling"]?["rope_type"] == .string("llama3"))
        #expect(written["rope_scaling"]?["original_max_position_embeddings"] == .integer(8192))
        factors[2] *= 1.5
        var others = scaled.inverseFrequencies
        others[2] /= 1.5
        #expect(throws: TransformError.self) {
            try HuggingFaceConfiguration.adding(.factors(factors), others, to: members, file: "f")
        }
    }
}
