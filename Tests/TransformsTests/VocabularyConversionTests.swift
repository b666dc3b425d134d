import CheckpointIO
import Foundation
import TensorCore
import TestSupport
import Testing
import Tokenization

@testable import Transforms

/// Tokenizers from GGUF's form to Hugging Face's and back.
@Suite struct VocabularyConversionTests {
    /// Writes the tokenizer files of a vocabulary and reads them as a vocabulary again.
    private func roundTrip(
        _ vocabulary: GGUFVocabulary, in folder: String, size: Int? = nil, editing edit: (String) -> String = { $0 }
    ) throws -> (vocabulary: GGUFVocabulary, losses: [String]) {
        let export = GGUFTokenizerExport(vocabulary, paddingTokenID: vocabulary.paddingTokenID)
        mkdir(folder + "/out", 0o777)
        try writeFile(folder + "/out/tokenizer.json", edit(try export.tokenizer()))
        try writeFile(folder + "/out/tokenizer_config.json", export.configuration.text(indent: 2))
        return try GGUFVocabulary.huggingFace(
            directory: folder + "/out", vocabularySize: size ?? vocabulary.tokens.count, configuration: nil)
    }

    /// A byte-level vocabulary: 256 letters, one merge, two special tokens.
    @Test func vocabularyThatContradictsItselfIsNotWritten() throws {
        for (tokens, merges) in [
            (["a", "b", "ab", "a"], ["a b"]), (["a", "b"], ["a b"]), (["a", "b", "ab"], ["a c"]),
        ] {
            var vocabulary = GGUFVocabulary(file: "x.gguf", model: "gpt2", tokens: tokens.map { Array($0.utf8) })
            vocabulary.types = tokens.map { _ in .normal }
            vocabulary.preTokenizer = "gpt-2"
            vocabulary.merges = merges.map { Array($0.utf8) }
            #expect(throws: TokenizationError.self) { try GGUFTokenizerExport(vocabulary).tokenizer() }
        }
    }

    private static func byteLevel(_ pre: String) throws -> GGUFVocabulary {
        let source = try Checkpoint.open(fixture("tiny-llama-gguf/tiny-llama-bf16.gguf"))
        var vocabulary = try GGUFVocabulary(try #require(source.metadata), file: source.path)
        vocabulary.preTokenizer = pre
        vocabulary.addsBOS = true
        vocabulary.addsEOS = false
        vocabulary.unknownTokenID = 0
        vocabulary.chatTemplates.named = [.init(name: "rag", text: "{{ documents }}")]
        return vocabulary
    }

    @Test(arguments: ["gpt-2", "smollm", "llama-bpe", "qwen2", "qwen35"])
    func byteLevelVocabularyComesBackWhole(pre: String) throws {
        try withTemporaryFolder { folder in
            let original = try Self.byteLevel(pre)
            let (back, losses) = try roundTrip(original, in: folder)
            #expect(losses.isEmpty)
            #expect(back.model == "gpt2" && back.preTokenizer == pre)
            #expect(back.tokens == original.tokens && back.types == original.types && back.merges == original.merges)
            #expect(back.bosTokenID == original.bosTokenID && back.eosTokenID == original.eosTokenID)
            #expect(back.unknownTokenID == 0 && back.paddingTokenID == original.paddingTokenID)
            #expect(back.addsBOS == true && back.addsEOS == false)
            #expect(back.chatTemplates == original.chatTemplates)
        }
    }

    @Test func scoredPiecesComeBackWithScoresThatMergeAlike() throws {
        try withTemporaryFolder { folder in
            let original = ConversionTests.scored
            let (back, losses) = try roundTrip(original, in: folder)
            #expect(losses.isEmpty)
            #expect(back.model == "llama" && back.preTokenizer == "default" && back.addsSpacePrefix == true)
            #expect(back.tokens == original.tokens && back.types == original.types)
            let (left, right) = (try back.makeTokenizer(), try original.makeTokenizer())
            var random = RandomStream(seed: 13)
            for _ in 0..<300 {
                let length = random.nextIndex(below: 14)
                let text = String((0..<length).map { _ in Array("aabbcc é\n")[random.nextIndex(below: 9)] })
                #expect(left.encode(text) == right.encode(text), "'\(text)'")
            }
        }
    }

    @Test func mergesThatNoScoresGiveAreRefused() throws {
        try withTemporaryFolder { folder -> Void in
            #expect {
                try roundTrip(ConversionTests.scored, in: folder) { text in
                    // Without one of its merges "abc" would be found by its score all the same.
                    guard let start = text.range(of: "      [\n        \"ab\",\n        \"c\"\n      ],\n") else {
                        return text
                    }
                    return text.replacingCharacters(in: start, with: "")
                }
            } throws: {
                "\($0)".contains("merges that no scores of pieces stand for, as those of 'abc'")
            }
        }
    }

    @Test func idsWithoutATokenArePadded() throws {
        try withTemporaryFolder { folder in
            let original = try Self.byteLevel("gpt-2")
            let count = original.tokens.count
            let (back, _) = try roundTrip(original, in: folder, size: count + 2)
            #expect(back.tokens.suffix(2) == [Array("[PAD\(count)]".utf8), Array("[PAD\(count + 1)]".utf8)])
            #expect(back.types.suffix(2) == [.unused, .unused])
            #expect(throws: TokenizationError.self) { try roundTrip(original, in: folder, size: count - 1) }
        }
    }

    @Test(arguments: [
        ("tokenization/qwen2-form", "qwen2"), ("tokenization/qwen35-form", "qwen35"),
        ("tokenization/r1-form", "deepseek-r1-qwen"), ("tiny-qwen2", "qwen2"), ("tiny-qwen3", "qwen2"),
    ])
    func qwensTokenizersKeepTheirIDsThroughGGUFAndBack(directory: String, pre: String) throws {
        try withTemporaryFolder { folder in
            let original = try Tokenizer.load(modelPath: fixture(directory))
            let (vocabulary, losses) = try GGUFVocabulary.huggingFace(
                directory: fixture(directory), vocabularySize: original.vocabularySize, configuration: nil)
            #expect(losses.isEmpty && vocabulary.model == "gpt2" && vocabulary.preTokenizer == pre)
            let (back, _) = try roundTrip(vocabulary, in: folder)
            #expect(back.preTokenizer == pre && back.tokens == vocabulary.tokens && back.types == vocabulary.types)
            let copies = [
                try vocabulary.makeTokenizer(), try Tokenizer.load(modelPath: folder + "/out"),
                try back.makeTokenizer(),
            ]
            let file = try readSmallFile(fixture("tokenization/composing.json"), limit: 1 << 20)
            let texts = try #require(JSONValue.parse(file).objectValue).members.compactMap {
                $0.value["text"]?.stringValue
            }
            #expect(texts.count > 20)
            for text in texts {
                let ids = original.encode(text, addingSpecialTokens: true)
                for copy in copies { #expect(copy.encode(text, addingSpecialTokens: true) == ids, "\(text)") }
            }
        }
    }

    @Test(arguments: [("gpt-2", false), ("llama-bpe", true), ("qwen2", false), ("deepseek-r1-qwen", true)])
    func textsBeginByTheRulesCustomWhereTheFileDoesNotSay(pre: String, begins: Bool) throws {
        var vocabulary = try Self.byteLevel(pre)
        vocabulary.addsBOS = nil
        let export = GGUFTokenizerExport(vocabulary)
        #expect(export.configuration["add_bos_token"] == .bool(begins))
        #expect(try export.tokenizer().contains("TemplateProcessing") == begins)
        #expect(try vocabulary.makeTokenizer().encode("a", addingSpecialTokens: true).count == (begins ? 2 : 1))
    }

    @Test func publishedQwen3NamesItsTokensInGGUF() throws {
        let configuration = try JSONValue.parse(readSmallFile(fixture("tiny-qwen3/config.json"), limit: 1 << 16))
        let (vocabulary, _) = try GGUFVocabulary.huggingFace(
            directory: fixture("tiny-qwen3"), vocabularySize: 512, configuration: configuration)
        func id(_ text: String) -> Int? { vocabulary.tokens.firstIndex(of: Array(text.utf8)) }
        func type(_ text: String) -> GGUFVocabulary.TokenType? { id(text).map { vocabulary.types[$0] } }
        #expect(vocabulary.eosTokenID == id("<|im_end|>") && vocabulary.paddingTokenID == id("<|endoftext|>"))
        // config.json's, as the tokenizer has none; no text begins with it.
        #expect(vocabulary.bosTokenID == id("<|endoftext|>") && vocabulary.addsBOS == false)
        #expect(vocabulary.unknownTokenID == nil)
        #expect(type("<|im_start|>") == .control && type("<|fim_prefix|>") == .control)
        #expect(type("<think>") == .userDefined && type("</tool_call>") == .userDefined)
        #expect(type("[PAD511]") == .unused && vocabulary.tokens.count == 512)
        #expect(vocabulary.chatTemplates.standard?.contains("enable_thinking") == true)
    }

    @Test func qwensPatternWithoutItsNormalizerIsRefused() throws {
        try withTemporaryFolder { folder in
            let original = try Self.byteLevel("qwen2")
            #expect {
                try roundTrip(original, in: folder) {
                    $0.replacingOccurrences(
                        of: "\"type\": \"NFC\"", with: "\"type\": \"Sequence\", \"normalizers\": []")
                }
            } throws: {
                "\($0)".contains("in a GGUF file the pre-tokenizer Split '(?i:'s|")
                    && "\($0)".contains("ByteLevel without a normalizer is")
            }
        }
    }

    @Test func unknownPreTokenizerIsRefusedByName() throws {
        try withTemporaryFolder { folder in
            let original = try Self.byteLevel("llama-bpe")
            #expect {
                try roundTrip(original, in: folder) {
                    $0.replacingOccurrences(of: "\"ignore_merges\": true", with: "\"ignore_merges\": false")
                }
            } throws: {
                "\($0)".contains("in a GGUF file the pre-tokenizer Split '(?i:'s|")
                    && "\($0)".hasSuffix("is not supported")
            }
        }
    }
}
