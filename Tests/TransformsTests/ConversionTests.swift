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
            kind: .lora, isGated: false, rank: 2, alpha: 2, targets: .names(["q_proj", "down_proj"]))
        let modules = try configuration.match(base.linearModules).modules
        var random = RandomStream(seed: 9)
        func values(_ count: Int) -> [Float] { (0..<count).map { _ in Float(random.nextUniform() - 0.5) / 4 } }
        return try AdapterDirectory(
            configuration: configuration, modules: modules.map(\.path),
            tensors: modules.flatMap {
                [
                    (PEFTNames.key($0.path, PEFTNames.loraA), [2, $0.inputSize], values(2 * $0.inputSize)),
                    (PEFTNames.key($0.path, PEFTNames.loraB), [$0.outputSize, 2], values(2 * $0.outputSize)),
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
            #expect(merged.configuration.inverseFrequencies == reference.configuration.inverseFrequencies)
            #expect(merged.configuration.tiedEmbeddings)
            #expect(merged.configuration.eosTokenIDs == reference.configuration.eosTokenIDs)
        }
    }

    @Test func writtenTokenizerGivesTheSameIds() throws {
        try withTemporaryFolder { folder in
            let path = fixture("tiny-llama-gguf/tiny-llama-q8_0.gguf")
            let base = try ModelCheckpoint.open(path)
            let report = try CheckpointMerge(base: base, adapter: try adapter(of: base)).write(to: folder + "/out")
            #expect(report.dtypes == ["BF16"])
            #expect(report.changedShareOfMerged > 0.9)
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
        let llama3 = try LlamaConfiguration(configuration: try JSONValue.parse(bytes), file: "config.json")
        let written = try HuggingFaceConfiguration.config(
            of: llama3, dtype: .bf16, tiedEmbeddings: true, paddingTokenID: 0, file: "f")
        let read = try LlamaConfiguration(configuration: written, file: "config.json")
        #expect(read == llama3)
    }
}
