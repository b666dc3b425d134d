import CheckpointIO
import Testing

@testable import Models

/// Embeddings that several parts of a model read: what an update of one means for the others.
@Suite struct SharedEmbeddingTests {
    private func base(_ tensors: KeyValuePairs<String, [Int]>, _ configuration: String) throws -> BaseNames {
        let json = try JSONValue.parse(Array(configuration.utf8))
        return BaseNames(
            tensors.map { NamedShape(name: $0.key, shape: $0.value) }, modelType: json["model_type"]?.stringValue,
            configuration: json)
    }

    private static let halves: KeyValuePairs<String, [Int]> = [
        "model.shared.weight": [40, 8], "model.encoder.layers.0.fc1.weight": [12, 8],
        "model.decoder.layers.0.fc1.weight": [12, 8],
    ]

    @Test func halvesOfBARTCanHaveAnEmbeddingEach() throws {
        let names = try base(Self.halves, #"{"model_type": "bart", "tie_word_embeddings": true}"#)
        let copies = ["model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight"]
        #expect(names.sharedEmbedding?.original == "model.shared.weight" && names.sharedEmbedding?.copies == copies)
        for (path, copy) in zip(["model.encoder.embed_tokens", "decoder.embed_tokens"], copies) {
            let half = try #require(try names.half(at: path))
            #expect(half.original == "model.shared.weight" && half.copy == copy)
            let place = SavedPlace.tied(head: copy, embedding: "model.shared.weight")
            #expect(try names.tensor(for: path + ".weight") == place)
        }
        #expect(try names.half(at: "model.decoder.embed_positions") == nil)
    }

    @Test func halvesOfOthersAreRefused() throws {
        let names = try base(Self.halves, #"{"model_type": "t5"}"#)
        #expect(throws: NamingError.sharedEmbedding(name: "encoder.embed_tokens", tensor: "model.shared.weight")) {
            try names.half(at: "encoder.embed_tokens")
        }
        #expect(try names.tensor(for: "encoder.embed_tokens.weight") == .existing("model.shared.weight"))
    }

    @Test func whatIsApartInTheFilesIsNotShared() throws {
        let names = try base(
            [
                "shared.weight": [40, 8], "encoder.embed_tokens.weight": [40, 8],
                "decoder.embed_tokens.weight": [40, 8], "encoder.layers.0.fc1.weight": [12, 8],
                "decoder.layers.0.fc1.weight": [12, 8],
            ], #"{"model_type": "bart", "tie_word_embeddings": false}"#)
        #expect(names.sharedEmbedding == nil)
    }

    @Test func anEmbeddingMayBeAHeadWhereNoOtherIsThere() throws {
        let embedding = "text_decoder.bert.embeddings.word_embeddings.weight"
        let other = "text_decoder.bert.embeddings.position_embeddings.weight"
        func mayBeHead(_ classes: String, _ more: String = "x.weight", nested: Bool = false) throws -> Bool {
            let tie = #""tie_word_embeddings": \#(!nested), "decoder": {"tie_word_embeddings": true}"#
            return try base(
                [embedding: [40, 8], other: [40, 8], more: [40, 8]], #"{"architectures": ["\#(classes)"], \#(tie)}"#
            ).mayBeHead(embedding)
        }
        // A matrix of as many rows that is no table is the head.
        #expect(try !mayBeHead("BlipForConditionalGeneration"))
        let table = "text_decoder.bert.embeddings.more_embeddings.weight"
        #expect(try mayBeHead("BlipForConditionalGeneration", table))
        #expect(try mayBeHead("VisionEncoderDecoderModel", table, nested: true))
        for name in ["BlipModel", "BertForSequenceClassification"] { #expect(try !mayBeHead(name, table)) }
        #expect(try mayBeHead("GPT2LMHeadModel", table))
    }
}
