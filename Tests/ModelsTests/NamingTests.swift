import CheckpointIO
import Models
import TensorCore
import Testing

/// What an adapter's names mean in a base's files, one fact each; the kinds of the corpus are in `NamingCorpusTests`.
@Suite struct NamingTests {
    /// A base of tensors written as `name: shape`.
    private func base(_ tensors: KeyValuePairs<String, [Int]>, _ modelType: String? = nil) -> BaseNames {
        BaseNames(
            tensors.map { NamedShape(name: $0, shape: $1) }, modelType: modelType,
            configuration: modelType.map { .object(["model_type": .string($0)]) })
    }

    private func tensors(
        _ base: BaseNames, _ matrix: AdaptedMatrix, _ rows: Int, _ columns: Int
    ) throws -> [String] {
        try base.places(of: matrix, outputSize: rows, inputSize: columns).joined().map(\.tensor)
    }

    private func refusal(_ body: () throws -> Void) -> NamingError? {
        do { try body() } catch { return error as? NamingError }
        return nil
    }

    @Test func theExactNameWinsOverEveryOther() throws {
        let base = base(["layers.0.q.weight": [4, 8], "model.layers.0.q.weight": [4, 8]])
        #expect(try tensors(base, .linear(path: "layers.0.q"), 4, 8) == ["layers.0.q.weight"])
        #expect(try tensors(base, .linear(path: "model.layers.0.q"), 4, 8) == ["model.layers.0.q.weight"])
    }

    @Test(arguments: [
        ("model.language_model.layers.1.q", "language_model.model.layers.1.q"),
        ("language_model.model.layers.1.q", "model.language_model.layers.1.q"),
        ("model.layers.1.q", "model.language_model.layers.1.q"), ("layers.1.q", "backbone.layers.1.q"),
        ("model.vision_tower.layers.1.q", "vision_tower.vision_model.layers.1.q"),
        ("model.visual.blocks.1.q", "visual.blocks.1.q"), ("model.visual.merger.q", "visual.merger.q"),
        ("thinker.model.layers.1.q", "model.language_model.layers.1.q"),
        ("my_wrapper.model.layers.1.q", "model.layers.1.q"), ("esm.encoder.layer.1.q", "encoder.layer.1.q"),
        ("language_model.lm_head", "lm_head"), ("model.decoder.layers.1.q", "decoder.layers.1.q"),
    ])
    func wrappersAreAddedAndLeftOut(adapter: String, file: String) throws {
        let base = base(["\(file).weight": [4, 8], "model.other.5.weight": [3, 3]])
        #expect(try tensors(base, .linear(path: adapter), 4, 8) == ["\(file).weight"])
    }

    @Test(arguments: [
        ("layers.0.q", "mtp.layers.0.q"), ("vision_model.layers.0.q", "text_model.layers.0.q"),
        ("decoder.layers.0.q", "encoder.layers.0.q"), ("roberta.encoder.layer.0.q", "bert.encoder.layer.0.q"),
        ("roberta.encoder.layer.0.q", "encoder.layer.0.q"), ("vision_model.layers.0.q", "layers.0.q"),
        ("model.layers.0.q", "vision_tower.layers.0.q"), ("model.layers.0.q", "text_model.encoder.layers.0.q"),
        ("encoder.layers.0.q", "model.decoder.layers.0.q"),
    ])
    func anotherTowerHalfOrFamilyIsNotMeant(adapter: String, file: String) {
        let base = base(["\(file).weight": [4, 8]], "bert")
        let found = refusal { _ = try tensors(base, .linear(path: adapter), 4, 8) }
        guard case .unknown = found else {
            Issue.record("\(adapter) in \(file): \(String(describing: found))")
            return
        }
    }

    @Test func ofTwoTowersTheOneThatFitsEveryModuleIsMeant() throws {
        let tensors: KeyValuePairs = [
            "text_model.encoder.layers.0.q.weight": [4, 4], "vision_model.encoder.layers.0.q.weight": [4, 4],
            "vision_model.encoder.layers.1.q.weight": [4, 4],
        ]
        let base = base(tensors, "clip")
        let first = SizedMatrix(.linear(path: "encoder.layers.0.q"), outputSize: 4, inputSize: 4)
        let second = SizedMatrix(.linear(path: "encoder.layers.1.q"), outputSize: 4, inputSize: 4)
        let error = refusal { _ = try self.tensors(base.fitted(to: [first]), first.matrix, 4, 4) }
        #expect(
            error
                == .ambiguous(
                    name: "encoder.layers.0.q",
                    candidates: ["text_model.encoder.layers.0.q", "vision_model.encoder.layers.0.q"]))
        #expect(
            try self.tensors(base.fitted(to: [first, second]), first.matrix, 4, 4)
                == ["vision_model.encoder.layers.0.q.weight"])
    }

    @Test func namesOfBothSidesOfATypesMappingAreFound() throws {
        let old = "model.layers.0.block_sparse_moe.experts.1.w3"
        let new = "model.layers.0.mlp.experts.1.up_proj"
        for (adapter, file) in [(old, new), (new, old)] {
            for type in ["mixtral", "unheard_of"] {
                #expect(
                    try tensors(base(["\(file).weight": [6, 4]], type), .linear(path: adapter), 6, 4)
                        == ["\(file).weight"])
            }
        }
    }

    @Test func halvesOfAFusedTensorAreRowsOfIt() throws {
        let files = base(["vit.encoder.layer.0.mlp.weights_in.weight": [12, 4]], "dinov2")
        let up = try files.places(
            of: .linear(path: "vit.encoder.layer.0.mlp.up_proj"), outputSize: 6, inputSize: 4)
        #expect(
            up == [[MatrixPlace(tensor: "vit.encoder.layer.0.mlp.weights_in.weight", rows: 0..<6, offset: 6)]])
        let apart = base(["m.0.mlp.gate_proj.weight": [6, 4], "m.0.mlp.up_proj.weight": [6, 4]], "dinov2")
        #expect(
            try apart.places(of: .linear(path: "m.0.mlp.weights_in"), outputSize: 12, inputSize: 4) == [
                [
                    MatrixPlace(tensor: "m.0.mlp.gate_proj.weight", rows: 0..<6),
                    MatrixPlace(tensor: "m.0.mlp.up_proj.weight", rows: 6..<12),
                ]
            ])
    }

    @Test func queriesKeysAndValuesOfUnequalSizeAreFoundByTheirPlace() throws {
        let base = base(["model.layers.0.self_attn.qkv_proj.weight": [16, 8]], "phi3")
        func offset(_ name: String, _ rows: Int) throws -> Int {
            try base.places(of: .linear(path: "model.layers.0.self_attn.\(name)"), outputSize: rows, inputSize: 8)[0][0]
                .offset
        }
        #expect(try offset("q_proj", 8) == 0)
        #expect(try offset("k_proj", 4) == 8)
        #expect(try offset("v_proj", 4) == 12)
    }

    @Test func aSquareConv1DGoesByTypeAndByItsNeighbours() throws {
        let square: KeyValuePairs = ["h.0.attn.c_proj.weight": [4, 4], "h.0.attn.c_proj.bias": [4]]
        let matrix = AdaptedMatrix.linear(path: "transformer.h.0.attn.c_proj")
        func isTransposed(_ base: BaseNames) throws -> Bool {
            try base.places(of: matrix, outputSize: 4, inputSize: 4)[0][0].isTransposed
        }
        #expect(try isTransposed(base(square, "gpt2")))
        #expect(try !isTransposed(base(square, "gpt_bigcode")))
        let error = refusal { _ = try isTransposed(base(square)) }
        #expect(
            error
                == .unclearOrientation(
                    name: "transformer.h.0.attn.c_proj", tensor: "h.0.attn.c_proj.weight", size: 4))
        let neighbour: KeyValuePairs = [
            "h.0.attn.c_proj.weight": [4, 4], "h.0.mlp.c_fc.weight": [4, 16], "h.0.mlp.c_fc.bias": [16],
        ]
        #expect(try isTransposed(base(neighbour)))
    }

    @Test func aLayerThatIsNoConv1DIsNotTurnedToFit() {
        let base = base(["model.layers.0.mlp.down_proj.weight": [4, 8]], "llama")
        let error = refusal { _ = try tensors(base, .linear(path: "model.layers.0.mlp.down_proj"), 8, 4) }
        #expect(
            error
                == .wrongShape(
                    name: "model.layers.0.mlp.down_proj", tensor: "model.layers.0.mlp.down_proj.weight",
                    update: [8, 4], found: [4, 8]))
    }

    @Test func aConvolutionInGroupsIsRefused() {
        let base = base(["c.0.dw.weight": [8, 1, 3, 3]])
        let error = refusal { _ = try tensors(base, .convolution(path: "c.0.dw"), 8, 72) }
        #expect(error == .groupedConvolution(name: "c.0.dw", tensor: "c.0.dw.weight", channels: 8, found: 1))
        #expect(error?.exitStatus == .unsupported)
    }

    @Test func savedValuesTakeATensorsPlaceOrStandBesideThem() throws {
        let base = base(["model.embed_tokens.weight": [9, 4], "model.layers.0.q.weight": [4, 4]], "llama")
        #expect(try base.tensor(for: "embed_tokens.weight") == .existing("model.embed_tokens.weight"))
        #expect(
            try base.tensor(for: "lm_head.weight")
                == .tied(head: "lm_head.weight", embedding: "model.embed_tokens.weight"))
        #expect(try base.tensor(for: "score.weight") == .new("score.weight"))
        #expect(refusal { _ = try base.tensor(for: "model.layers.0.q.bias") } != nil)
        #expect(base.tiedHead == nil)
        let tied = BaseNames(
            [NamedShape(name: "language_model.model.embed_tokens.weight", shape: [9, 4])], modelType: "llava",
            configuration: .object(["tie_word_embeddings": .bool(true)]))
        #expect(tied.tiedHead?.head == "language_model.lm_head.weight")
    }

    @Test func anUnknownNameIsRefusedWithTheNearestAndTheCause() {
        let base = base(["model.layers.0.q.weight": [4, 4], "model.layers.1.q.weight": [4, 4]], "llama")
        let deeper = refusal { _ = try tensors(base, .linear(path: "layers.7.q"), 4, 4) }
        #expect(
            deeper?.description == "'layers.7.q': the base has no such module; nearest are 'model.layers.0.q' "
                + "('model.layers.0' for 'layers.7'); the base has 2 such layers, and the adapter is of a deeper model")
        let head = refusal { _ = try tensors(base, .linear(path: "classifier.dense"), 4, 4) }
        #expect(head?.description.contains("classification head") == true)
        let tower = refusal { _ = try tensors(base, .linear(path: "visual.patch.proj"), 4, 4) }
        #expect(tower?.description.contains("the base lacks the part 'visual'") == true)
    }

    @Test(arguments: 0..<10)
    func randomTreesOfNamesAreFoundUnderOtherWrappers(seed: Int) throws {
        var random = RandomStream(seed: UInt64(seed))
        func word() -> String { "w" + String(random.nextBits() % 9) }
        func number() -> String { String(random.nextBits() % 3) }
        var shapes: [String: [Int]] = [:]
        for _ in 0..<40 {
            let depth = Int(random.nextBits() % 3)
            let path =
                [word(), number()]
                + (0...depth).flatMap { _ in random.nextBits() % 2 == 0 ? [word()] : [word(), number()] }
            shapes[path.joined(separator: ".")] = [2 + Int(random.nextBits() % 5), 8 + Int(random.nextBits() % 5)]
        }
        let wrappers = ["", "model.", "model.language_model.", "language_model.model.", "transformer."]
        for files in wrappers {
            let base = BaseNames(
                shapes.map { NamedShape(name: "\(files)\($0.key).weight", shape: $0.value) }, modelType: nil,
                configuration: nil)
            for adapter in wrappers {
                let matrices = shapes.map {
                    SizedMatrix(.linear(path: adapter + $0.key), outputSize: $0.value[0], inputSize: $0.value[1])
                }
                let fitted = base.fitted(to: matrices)
                for (path, shape) in shapes {
                    let found = try fitted.places(
                        of: .linear(path: adapter + path), outputSize: shape[0], inputSize: shape[1])
                    #expect(found == [[MatrixPlace(tensor: "\(files)\(path).weight", rows: 0..<shape[0])]])
                }
            }
        }
    }
}
