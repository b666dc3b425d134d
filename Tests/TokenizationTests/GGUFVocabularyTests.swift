import TestSupport
import Testing
import Tokenization

@Suite struct GGUFVocabularyTests {
    private static func vocabulary(_ model: String, _ tokens: [String]) -> GGUFVocabulary {
        GGUFVocabulary(file: "m.gguf", model: model, tokens: tokens.map { Array($0.utf8) })
    }

    private static func scored(_ pieces: [(String, Float)]) -> GGUFVocabulary {
        var vocabulary = vocabulary("llama", pieces.map(\.0))
        vocabulary.scores = pieces.map(\.1)
        return vocabulary
    }

    @Test func theHighestScoreMergesFirstAndTheLeftmostOfEquals() throws {
        var vocabulary = Self.scored([
            ("<unk>", 0), ("a", -9), ("b", -9), ("c", -9), ("ab", -2), ("bc", -1), ("aa", -3),
        ])
        vocabulary.addsSpacePrefix = false
        let tokenizer = try vocabulary.makeTokenizer()
        #expect(tokenizer.encode("abc") == [1, 5])
        #expect(tokenizer.encode("aaa") == [6, 1])
        // Without byte tokens, what is in no token is the unknown one, once a byte.
        #expect(tokenizer.encode("a\u{E9}") == [1, 0, 0])
    }

    @Test func beginningAndEndFollowTheFlagsAndTheModelsCustom() throws {
        var vocabulary = Self.scored([("<unk>", 0), ("<s>", 0), ("</s>", 0), ("▁", -1), ("a", -2)])
        vocabulary.types = [.unknown, .control, .control, .normal, .normal]
        vocabulary.bosTokenID = 1
        vocabulary.eosTokenID = 2
        #expect(try vocabulary.makeTokenizer().encode("a", addingSpecialTokens: true) == [1, 3, 4])
        vocabulary.addsBOS = false
        vocabulary.addsEOS = true
        vocabulary.addsSpacePrefix = false
        let tokenizer = try vocabulary.makeTokenizer()
        #expect(tokenizer.encode("a", addingSpecialTokens: true) == [4, 2])
        #expect(tokenizer.encode("a<s>a") == [4, 1, 4])
        #expect(tokenizer.decode([1, 4, 2]) == "a")
        var bytes = Self.vocabulary("gpt2", ["a", "b"])
        bytes.bosTokenID = 1
        bytes.preTokenizer = "gpt-2"
        #expect(try bytes.makeTokenizer().encode("a", addingSpecialTokens: true) == [0])
        bytes.preTokenizer = "llama-bpe"
        #expect(try bytes.makeTokenizer().encode("a", addingSpecialTokens: true) == [1, 0])
    }

    @Test func digitsStandAloneByTheNameOfTheRule() throws {
        var vocabulary = Self.vocabulary("gpt2", ["1", "2", "12", "a", "Ġ", "Ġ1"])
        vocabulary.merges = ["1 2", "Ġ 1"].map { Array($0.utf8) }
        vocabulary.preTokenizer = "gpt-2"
        #expect(try vocabulary.makeTokenizer().encode("12a 1") == [2, 3, 5])
        vocabulary.preTokenizer = "smollm"
        #expect(try vocabulary.makeTokenizer().encode("12a 1") == [0, 1, 3, 4, 0])
        vocabulary.preTokenizer = "qwen2"
        #expect(try vocabulary.makeTokenizer().encode("12a 1") == [0, 1, 3, 4, 0])
        vocabulary.preTokenizer = "llama-bpe"
        #expect(try vocabulary.makeTokenizer().encode("12a 1") == [2, 3, 4, 0])
    }

    @Test func whatIsNotKnownIsUnsupportedByName() {
        var vocabulary = Self.vocabulary("t5", ["a"])
        #expect(throws: unsupported("the tokenizer model 't5' ('tokenizer.ggml.model')")) {
            try vocabulary.makeTokenizer()
        }
        vocabulary.model = "gpt2"
        #expect(throws: unsupported("a byte-level vocabulary without 'tokenizer.ggml.pre'")) {
            try vocabulary.makeTokenizer()
        }
        vocabulary.preTokenizer = "falcon"
        #expect(throws: unsupported("the pre-tokenizer 'falcon' ('tokenizer.ggml.pre')")) {
            try vocabulary.makeTokenizer()
        }
    }

    @Test func vocabulariesThatContradictThemselvesAreRefused() {
        var vocabulary = Self.vocabulary("gpt2", ["a", "b"])
        vocabulary.preTokenizer = "gpt-2"
        vocabulary.merges = [Array("a b".utf8)]
        #expect(throws: malformed("merge 1, 'a b', does not join two tokens into a third")) {
            try vocabulary.makeTokenizer()
        }
        vocabulary.merges = []
        vocabulary.eosTokenID = 2
        #expect(throws: malformed("the eos token is 2, but there are 2 tokens")) { try vocabulary.makeTokenizer() }
        #expect(throws: malformed("'tokenizer.ggml.tokens' has 'a' twice")) {
            try Self.vocabulary("gpt2", ["a", "a"]).makeTokenizer()
        }
        #expect(throws: malformed("there are 0 scores in 'tokenizer.ggml.scores' for 1 tokens")) {
            try Self.vocabulary("llama", ["a"]).makeTokenizer()
        }
    }

    private func unsupported(_ feature: String) -> TokenizationError { .unsupported(file: "m.gguf", feature: feature) }
    private func malformed(_ problem: String) -> TokenizationError { .malformed(file: "m.gguf", problem: problem) }
}
