import Models
import Testing

/// Where the matrices of a mixture's experts lie in each of the forms that files have.
@Suite struct NamingExpertTests {
    private static let stem = "model.layers.0.mlp.experts"

    private func base(_ tensors: KeyValuePairs<String, [Int]>, _ modelType: String? = nil) -> BaseNames {
        BaseNames(
            tensors.map { NamedShape(name: $0, shape: $1) }, modelType: modelType,
            configuration: modelType.map { .object(["model_type": .string($0)]) })
    }

    private func packed(_ name: String?, _ count: Int, stem: String = stem) -> AdaptedMatrix {
        .parameter(module: stem, name: name, expertCount: count)
    }

    private func refusal(_ body: () throws -> Void) -> NamingError? {
        do { try body() } catch { return error as? NamingError }
        return nil
    }

    /// Two experts with a tensor for each matrix: width 4, inner size 3.
    private static let apart: KeyValuePairs = [
        "\(stem).0.gate_proj.weight": [3, 4], "\(stem).0.up_proj.weight": [3, 4], "\(stem).0.down_proj.weight": [4, 3],
        "\(stem).1.gate_proj.weight": [3, 4], "\(stem).1.up_proj.weight": [3, 4], "\(stem).1.down_proj.weight": [4, 3],
    ]

    @Test func gateRowsComeBeforeUpRowsInATensorForEach() throws {
        let places = try base(Self.apart).places(of: packed("gate_up_proj", 2), outputSize: 6, inputSize: 4)
        #expect(places.count == 2)
        #expect(
            places[1] == [
                MatrixPlace(tensor: "\(Self.stem).1.gate_proj.weight", rows: 0..<3),
                MatrixPlace(tensor: "\(Self.stem).1.up_proj.weight", rows: 3..<6),
            ])
    }

    @Test func packedTensorsAreFoundInBothOrientations() throws {
        for (shape, transposed) in [([2, 6, 4], false), ([2, 4, 6], true)] {
            let places = try base(["\(Self.stem).gate_up_proj": shape]).places(
                of: packed("gate_up_proj", 2), outputSize: 6, inputSize: 4)
            #expect(
                places[1] == [
                    MatrixPlace(
                        tensor: "\(Self.stem).gate_up_proj", expert: 1, isTransposed: transposed, rows: 0..<6)
                ])
        }
    }

    @Test func gateAndUpPackedApartAsInGGUFAreFound() throws {
        let files = base(["\(Self.stem).gate_proj.weight": [2, 3, 4], "\(Self.stem).up_proj.weight": [2, 3, 4]])
        #expect(
            try files.places(of: packed("gate_up_proj", 2), outputSize: 6, inputSize: 4)[1] == [
                MatrixPlace(tensor: "\(Self.stem).gate_proj.weight", expert: 1, rows: 0..<3),
                MatrixPlace(tensor: "\(Self.stem).up_proj.weight", expert: 1, rows: 3..<6),
            ])
    }

    @Test func oneExpertsUpIsTheSecondHalfOfThePackedTensor() throws {
        for (shape, transposed) in [([2, 6, 4], false), ([2, 4, 6], true)] {
            let files = base(["\(Self.stem).gate_up_proj": shape, "\(Self.stem).down_proj": [2, 4, 3]])
            let place = try files.places(
                of: .linear(path: "\(Self.stem).1.up_proj"), outputSize: 3, inputSize: 4)
            #expect(
                place == [
                    [
                        MatrixPlace(
                            tensor: "\(Self.stem).gate_up_proj", expert: 1, isTransposed: transposed, rows: 0..<3,
                            offset: 3)
                    ]
                ])
        }
    }

    @Test func aSquareMatrixIsTurnedAsItsNeighbourIs() throws {
        for (gate, transposed) in [([2, 8, 4], false), ([2, 4, 8], true)] {
            let files = base(["\(Self.stem).gate_up_proj": gate, "\(Self.stem).down_proj": [2, 4, 4]])
            let places = try files.places(of: packed("down_proj", 2), outputSize: 4, inputSize: 4)
            #expect(places[0][0].isTransposed == transposed)
        }
    }

    @Test func aSquareMatrixAloneGoesByTypeOrIsRefused() throws {
        let tensors: KeyValuePairs = ["\(Self.stem).down_proj": [2, 4, 4]]
        func isTransposed(_ type: String?) throws -> Bool {
            try base(tensors, type).places(of: packed("down_proj", 2), outputSize: 4, inputSize: 4)[0][0].isTransposed
        }
        #expect(try isTransposed("gpt_oss"))
        #expect(try !isTransposed("qwen3_moe"))
        let error = refusal { _ = try isTransposed("unheard_of") }
        #expect(error == .unclearOrientation(name: Self.stem, tensor: "\(Self.stem).down_proj", size: 4))
    }

    /// Up to 0.18 peft let A run along the first axis of what is in memory; since 0.19 it asks the module, and Llama 4's
    /// does not say that its experts are transposed.
    @Test(arguments: [
        ("qwen3_moe", ExpertFactors.byModule, false), ("qwen3_moe", .alongFirstAxis, true),
        ("gpt_oss", .byModule, true), ("gpt_oss", .alongFirstAxis, true), ("gpt_oss", .unknown, true),
        ("llama4_text", .byModule, false), ("llama4_text", .alongFirstAxis, true), ("qwen3_vl_moe", .byModule, true),
    ])
    func aSquareMatrixIsTurnedAsItsWriterMeantIt(_ type: String, _ factors: ExpertFactors, _ transposed: Bool) throws {
        var files = base(["\(Self.stem).down_proj": [2, 4, 4]], type)
        files.expertFactors = factors
        let places = try files.places(of: packed("down_proj", 2), outputSize: 4, inputSize: 4)
        #expect(
            places[1] == [
                MatrixPlace(tensor: "\(Self.stem).down_proj", expert: 1, isTransposed: transposed, rows: 0..<4)
            ])
    }

    @Test func aSquareMatrixIsRefusedWhereItsWriterIsNotKnown() {
        let tensor = "\(Self.stem).down_proj"
        let several: [(String, ExpertFactors)] = [
            ("qwen3_moe", .unknown), ("llama4_text", .unknown), ("qwen3_vl_moe", .alongFirstAxis),
        ]
        for (type, factors) in several {
            var files = base([tensor: [2, 4, 4]], type)
            files.expertFactors = factors
            let error = refusal { _ = try files.places(of: packed("down_proj", 2), outputSize: 4, inputSize: 4) }
            #expect(error == .unclearFactors(name: Self.stem, tensor: tensor))
            #expect(error?.exitStatus == .unsupported)
            // Shapes tell where there is a choice of one.
            files = base([tensor: [2, 4, 3]], type)
            files.expertFactors = factors
            #expect(throws: Never.self) {
                _ = try files.places(of: packed("down_proj", 2), outputSize: 4, inputSize: 3)
            }
        }
    }

    /// A square matrix whose rows lie in several tensors is not taken apart the other way.
    @Test func exchangedFactorsOfExpertsApartAreRefused() {
        let tensors: KeyValuePairs = [
            "\(Self.stem).0.gate_proj.weight": [2, 4], "\(Self.stem).0.up_proj.weight": [2, 4],
            "\(Self.stem).0.down_proj.weight": [4, 2],
        ]
        for (factors, isRefused) in [(ExpertFactors.byModule, false), (.alongFirstAxis, true), (.unknown, true)] {
            var files = base(tensors, "qwen3_moe")
            files.expertFactors = factors
            let error = refusal {
                _ = try files.places(of: packed("gate_up_proj", 1), outputSize: 4, inputSize: 4)
            }
            #expect((error == .unclearFactors(name: Self.stem, tensor: "\(Self.stem).0.gate_proj.weight")) == isRefused)
        }
    }

    @Test func shapesTellWhichParameterIsMeant() throws {
        let files = base(["\(Self.stem).gate_up_proj": [2, 6, 4], "\(Self.stem).down_proj": [2, 4, 3]])
        let down = try files.places(of: packed(nil, 2), outputSize: 4, inputSize: 3)
        #expect(down[0][0].tensor == "\(Self.stem).down_proj")
        let both = try files.places(of: packed(nil, 2), outputSize: 6, inputSize: 4)
        #expect(both[0][0].tensor == "\(Self.stem).gate_up_proj")
    }

    /// In gpt-oss one row of gate and one of up follow each other.
    @Test func gateAndUpThatAlternateAreEverySecondRow() throws {
        let tensor = "\(Self.stem).gate_up_proj"
        let files = base([tensor: [2, 4, 6]], "gpt_oss")
        for (name, offset) in [("gate_proj", 0), ("up_proj", 1)] {
            var place = MatrixPlace(tensor: tensor, expert: 1, isTransposed: true, rows: 0..<3, offset: offset)
            place.step = 2
            #expect(
                try files.places(of: .linear(path: "\(Self.stem).1.\(name)"), outputSize: 3, inputSize: 4) == [[place]])
        }
        let both = MatrixPlace(tensor: tensor, expert: 1, isTransposed: true, rows: 0..<6)
        #expect(
            try files.places(of: .linear(path: "\(Self.stem).gate_up_projs.1"), outputSize: 6, inputSize: 4) == [[both]]
        )
    }

    @Test func aGGUFFileHoldsThemApart() throws {
        let tensors = ["w1", "w3", "w2"].map {
            NamedShape(name: "\(Self.stem).\($0)", shape: [2, 4, 4])
        }
        let file = BaseNames(tensors, modelType: "gpt_oss", configuration: nil, isGGUF: true)
        let places = try file.places(of: packed("gate_up_proj", 2), outputSize: 8, inputSize: 4)
        #expect(places[1].map(\.tensor) == tensors[..<2].map(\.name))
        #expect(places[1].map { Array($0.ownRows) } == [[0, 2, 4, 6], [1, 3, 5, 7]])
        #expect(places.joined().allSatisfy { !$0.isTransposed && $0.offset == 0 && $0.step == 1 })
        let down = try file.places(of: packed("down_proj", 2), outputSize: 4, inputSize: 4)
        #expect(down == [0, 1].map { [MatrixPlace(tensor: tensors[2].name, expert: $0, rows: 0..<4)] })
        // What is saved whole is the transpose, and has no place there.
        for name in ["gate_up_proj", "down_proj"] {
            #expect(refusal { _ = try file.tensor(for: "\(Self.stem).\(name)") } != nil)
        }
    }

    @Test func partsOfOneTensorAreToldApart() {
        func place(_ count: Int, at offset: Int, step: Int = 1) -> MatrixPlace {
            var place = MatrixPlace(tensor: "t", rows: 0..<count, offset: offset)
            place.step = step
            return place
        }
        #expect(!place(3, at: 0, step: 2).overlaps(place(3, at: 1, step: 2)))
        #expect(place(3, at: 0, step: 2).overlaps(place(3, at: 2, step: 2)))
        #expect(place(6, at: 0).overlaps(place(3, at: 1, step: 2)))
        #expect(!place(3, at: 0).overlaps(place(3, at: 3)))
        #expect(!place(3, at: 0, step: 2).overlaps(place(3, at: 5)))
    }

    @Test func aMissingExpertAndAnotherCountAreRefused() {
        let files = base(Self.apart)
        #expect(
            refusal { _ = try files.places(of: packed("down_proj", 3), outputSize: 4, inputSize: 3) }
                == .wrongExpertCount(name: Self.stem, expected: 3, found: 2))
        #expect(
            refusal { _ = try files.places(of: .linear(path: "\(Self.stem).7.up_proj"), outputSize: 3, inputSize: 4) }
                == .missingExpert(name: "\(Self.stem).7.up_proj", tensor: "\(Self.stem).7.up_proj.weight", count: 2))
        let gap = base([
            "\(Self.stem).0.down_proj.weight": [4, 3], "\(Self.stem).2.down_proj.weight": [4, 3],
        ])
        #expect(
            refusal { _ = try gap.places(of: packed("down_proj", 3), outputSize: 4, inputSize: 3) }
                == .missingExpert(name: Self.stem, tensor: "\(Self.stem).1.down_proj.weight", count: 3))
        let blocks = base(["\(Self.stem).gate_up_proj_blocks": [2, 6, 1, 16]], "gpt_oss")
        #expect(
            refusal { _ = try blocks.places(of: packed("gate_up_proj", 2), outputSize: 6, inputSize: 4) }
                == .quantized(name: Self.stem, tensor: "\(Self.stem).gate_up_proj_blocks"))
        for path in ["\(Self.stem).1.up_proj", "\(Self.stem).gate_up_projs.1"] {
            #expect(
                refusal { _ = try blocks.places(of: .linear(path: path), outputSize: 6, inputSize: 4) }
                    == .quantized(name: path, tensor: "\(Self.stem).gate_up_proj_blocks"))
        }
    }

    @Test func aRouterIsAParameterOrALayer() throws {
        let files = base(["model.layers.0.block_sparse_moe.router.layer.weight": [4, 8]], "granitemoe")
        let module = "model.layers.0.block_sparse_moe.router"
        for matrix in [
            AdaptedMatrix.linear(path: module), packed("weight", 1, stem: module), packed(nil, 1, stem: module),
        ] {
            #expect(
                try files.places(of: matrix, outputSize: 4, inputSize: 8)
                    == [[MatrixPlace(tensor: "\(module).layer.weight", rows: 0..<4)]])
        }
    }
}
