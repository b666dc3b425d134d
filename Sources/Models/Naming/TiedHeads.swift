/// What `tie_word_embeddings` ties in a kind of model, and so what a checkpoint must hold where it is false.
struct TiedHead: Sendable {
    /// The output head's module, as the files would call it.
    let module: String
    /// A tensor that is another as long as they are tied: a head's bias, or the embedding of a half of the model.
    struct Copy: Sendable, Equatable {
        let name: String
        let original: String
    }

    /// Copies that there are beside the head.
    let copies: [Copy]

    fileprivate init(_ module: String, copies: [Copy] = []) {
        self.module = module
        self.copies = copies
    }

    /// A head `stem`.decoder whose bias is `stem`'s.
    fileprivate static func masked(_ stem: String) -> TiedHead {
        TiedHead("\(stem).decoder", copies: [Copy(name: "\(stem).decoder.bias", original: "\(stem).bias")])
    }
}

/// The heads of model types that call theirs otherwise than `lm_head`, or tie more than it: what transformers 5 lists as
/// `_tied_weights_keys`. Model types that are not here have a plain `lm_head`, or are not known.
enum TiedHeads {
    private static let rules: [(types: Set<String>, head: TiedHead)] = [
        (
            [
                "bert", "big_bird", "deberta", "deberta-v2", "ernie", "fnet", "layoutlm", "megatron-bert", "mra",
                "nomic_bert", "nystromformer", "roc_bert", "roformer", "squeezebert", "tapas", "visual_bert", "yoso",
            ], .masked("cls.predictions")
        ),
        (["albert"], .masked("predictions")),
        (
            [
                "roberta", "camembert", "xlm-roberta", "xlm-roberta-xl", "longformer", "mpnet", "roberta-prelayernorm",
                "xmod",
            ], .masked("lm_head")
        ),
        (["esm"], TiedHead("lm_head.decoder")), (["electra", "convbert"], TiedHead("generator_lm_head")),
        (["distilbert"], TiedHead("vocab_projector")), (["modernbert"], TiedHead("decoder")),
        (["xlnet"], TiedHead("lm_loss")), (["whisper"], TiedHead("proj_out")),
        (bartKin, shared("model")), (["led"], shared("led")),
    ]

    /// Types whose encoder and decoder read an embedding each, which are one where they are tied.
    private static let bartKin: Set<String> = [
        "bart", "mbart", "m2m_100", "pegasus", "pegasus_x", "blenderbot", "blenderbot-small", "plbart", "mvp",
        "bigbird_pegasus", "nllb-moe",
    ]

    /// Whether a model of this type has its halves' embeddings apart where nothing is tied.
    static func sharesEmbedding(_ modelType: String?) -> Bool {
        modelType.map { bartKin.contains($0) || $0 == "led" } ?? false
    }

    /// A head beside an encoder and a decoder that read the embedding under names of their own.
    private static func shared(_ body: String) -> TiedHead {
        TiedHead(
            "lm_head",
            copies: ["encoder", "decoder"].map {
                TiedHead.Copy(name: "\(body).\($0).embed_tokens.weight", original: "\(body).shared.weight")
            })
    }

    /// The head of a model type; nil for one that is not in the table.
    static func of(_ modelType: String?) -> TiedHead? {
        modelType.flatMap { type in rules.first { $0.types.contains(type) }?.head }
    }
}

extension BaseNames {
    /// Tensors that are others as long as `tie_word_embeddings` is true, by the base's names: of a model whose head is
    /// in the table and called `head`. Nil where the table does not have it.
    package func copiesTied(with head: String) -> [(name: String, original: String)]? {
        guard let known = tiedHeadKind, head == known.module + ".weight" else { return nil }
        guard known.copies.allSatisfy({ shapes[$0.original] != nil }) else { return nil }
        return known.copies.map { ($0.name, $0.original) }
    }

    /// The head at a path and the embedding that it is tied to, where the base has no tensor for it.
    package func tie(ofHead path: String) -> (head: String, embedding: String)? {
        let weight = path + ".weight"
        guard isHead(path), existing(weight) == nil, case .tied(let head, let embedding) = try? tensor(for: weight)
        else { return nil }
        return (head, embedding)
    }
}
