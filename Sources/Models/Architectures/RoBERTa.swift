import CheckpointIO
import Compute

/// RoBERTa (Liu et al., arXiv 1907.11692): BERT's graph, whose positions begin behind the padding token's id and pass over
/// padding tokens, with a head of two layers and no pooler.
package struct RoBERTa: Architecture {
    package static let names = ArchitectureNames(
        encoder: "roberta", class: "RobertaModel", classifier: "RobertaForSequenceClassification", gguf: "bert")
    package static let layerPrefix = "roberta.encoder.layer."
    package static let basePrefix = "roberta."

    package static var modules: [ModuleTemplate<RoBERTa>] {
        [
            .table("roberta.embeddings.word_embeddings", gguf: "token_embd", .embedding) {
                $0.configuration.vocabularySize
            },
            .table("roberta.embeddings.position_embeddings", gguf: "position_embd") {
                $0.configuration.maximumPositions + $0.padding + 1
            },
            .table("roberta.embeddings.token_type_embeddings", gguf: "token_types") { $0.encoder.typeCount },
            .outerNorm("roberta.embeddings.LayerNorm", gguf: "token_embd_norm"),
        ] + bertLayer + [
            .headLinear("classifier.dense") { $0.configuration.hiddenSize },
            .headLinear("classifier.out_proj") { $0.configuration.task?.labels.count ?? 0 },
        ]
    }

    package let configuration: ModelConfiguration
    let encoder: EncoderFields
    /// The padding token's id, behind which positions begin.
    private var padding: Int { configuration.padTokenID ?? Self.assumedPadding }

    private static let assumedPadding = 1

    package init(_ fields: ModelFields) throws {
        try fields.refuseDecoding()
        encoder = try EncoderFields(fields, assumedTypes: 2)
        configuration = try ModelConfiguration(
            encoder: fields, Self.names,
            assuming: .init(
                vocabularySize: 50265, unusedPositions: (fields.padTokenID ?? Self.assumedPadding) + 1,
                padTokenID: Self.assumedPadding))
    }

    package var ggufProblem: String? { "an encoder's graph" }

    package func write(to fields: inout WrittenFields) {
        configuration.writeEncoder(names, unusedPositions: padding + 1, to: &fields)
        encoder.write(to: &fields)
        fields.setJSON("classifier_dropout", .real(encoder.headDropout))
    }

    package func makeModel(_ weights: WeightLoader) throws -> any Model {
        let head = PooledHead(weights, pooling: .first, output: try HeadLinear(weights, "classifier.out_proj"))
        let rate = Float(encoder.headDropout)
        // One module in transformers, called twice.
        head.firstDropout = HiddenDropout(rate: rate, place: "classifier.dropout.0")
        head.dense = (try HeadLinear(weights, "classifier.dense"), .tanh)
        head.dropout = HiddenDropout(rate: rate, place: "classifier.dropout.1")
        let padding = padding
        return try Encoder.bert(weights, Self.basePrefix, encoder, head: head) { tokens in
            var count = 0
            return tokens.map { token in
                if Int(token) == padding { return padding }
                count += 1
                return padding + count
            }
        }
    }
}
