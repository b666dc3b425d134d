import CheckpointIO
import Foundation
import Models
import TestSupport
import Testing

/// One case of a corpus of checkpoints and adapters: names and shapes, and which tensors peft's merge changed.
struct NamingCase: Sendable, CustomTestStringConvertible {
    let name: String
    let outcome: String
    let mentions: [String]
    let tensors: [NamedShape]
    let configuration: JSONValue
    let updates: [SizedMatrix]
    let saved: [String]
    let changed: Set<String>

    var testDescription: String { name }

    /// The names of the base, fitted to the adapter.
    var base: BaseNames {
        BaseNames(tensors, modelType: configuration["model_type"]?.stringValue, configuration: configuration)
            .fitted(to: updates)
    }

    /// All cases of `Fixtures/merge-names/corpus.json`.
    static let all: [NamingCase] = {
        do {
            let file = try JSONValue.parse(Data(contentsOf: URL(fileURLWithPath: fixture("merge-names/corpus.json"))))
            let bases = file["bases"]?.arrayValue ?? []
            return (file["cases"]?.arrayValue ?? []).map { NamingCase($0, bases) }
        } catch { fatalError("Fixtures/merge-names/corpus.json: \(error)") }
    }()

    private init(_ value: JSONValue, _ bases: [JSONValue]) {
        func texts(_ key: String) -> [String] { (value[key]?.arrayValue ?? []).compactMap(\.stringValue) }
        let base = bases[value["base"]!.intValue!]
        name = value["name"]!.stringValue!
        outcome = value["outcome"]!.stringValue!
        mentions = texts("mentions")
        tensors = base["tensors"]!.objectValue!.members.map { name, shape in
            NamedShape(name: name, shape: shape.arrayValue!.map { $0.intValue! })
        }
        configuration = base["config"]!
        updates = value["updates"]!.arrayValue!.map { Self.matrix($0.arrayValue!) }
        saved = texts("saved")
        changed = Set(texts("changed"))
    }

    private static func matrix(_ fields: [JSONValue]) -> SizedMatrix {
        let path = fields[1].stringValue!
        let matrix: AdaptedMatrix =
            switch fields[0].stringValue! {
            case "embedding": .embedding(path: path)
            case "convolution": .convolution(path: path)
            case "parameter":
                .parameter(module: path, name: fields[2].stringValue, expertCount: fields[3].intValue!)
            default: .linear(path: path)
            }
        return SizedMatrix(matrix, outputSize: fields[4].intValue!, inputSize: fields[5].intValue!)
    }
}

/// The resolver over every kind of the corpus (`Tests/Scripts/make_merge_names.py`).
@Suite struct NamingCorpusTests {
    /// Refused by what an adapter's names mean; other refusals of the corpus have other grounds.
    private static let refusedByName: Set<String> = [
        "files-gptq", "lora-conv2d-groups", "lora-head-tied", "lora-lora-bias-none", "method-bdlora",
        "names-clip-text-adapter", "wrong-bert-more-layers", "wrong-more-layers", "wrong-wider",
    ]
    /// The base has no such tensor, and peft writes one: a head that is no longer the embedding.
    private static let untied: Set<String> = ["lora-embed-tied", "lora-save-embed-tied"]
    /// The tensors that are saved have the base's values.
    private static let unchanged: Set<String> = ["lora-save-embeddings", "lora-save-both-tied-together"]

    private static var placed: [NamingCase] {
        NamingCase.all.filter { $0.outcome != "refuse" && !refusedByName.contains($0.name) }
    }

    @Test func hasEveryKindOfCase() {
        #expect(NamingCase.all.count == 107)
        #expect(Self.placed.count == 91)
    }

    @Test(arguments: placed)
    func placesAreInTheTensorsThatPeftChanges(_ example: NamingCase) throws {
        let base = example.base
        var touched: Set<String> = []
        for update in example.updates {
            let places = try base.places(
                of: update.matrix, outputSize: update.outputSize, inputSize: update.inputSize)
            for place in places.joined() { touched.insert(place.tensor) }
            #expect(places.allSatisfy { $0.reduce(0) { $0 + $1.rows.count } == update.outputSize })
        }
        for key in example.saved {
            switch try base.tensor(for: key) {
            case .existing(let name), .new(let name): touched.insert(name)
            case .tied(let head, let embedding): touched.formUnion([head, embedding])
            }
        }
        if Self.untied.contains(example.name), let tied = base.tiedHead { touched.insert(tied.head) }
        if Self.unchanged.contains(example.name) {
            #expect(touched.isSuperset(of: example.changed))
        } else {
            #expect(touched == example.changed)
        }
    }

    @Test(arguments: NamingCase.all.filter { refusedByName.contains($0.name) })
    func aRefusalNamesTheCasesWords(_ example: NamingCase) {
        let base = example.base
        var problems: [NamingError] = []
        for update in example.updates {
            do throws(NamingError) {
                _ = try base.places(of: update.matrix, outputSize: update.outputSize, inputSize: update.inputSize)
            } catch { problems.append(error) }
        }
        for key in example.saved {
            do throws(NamingError) { _ = try base.tensor(for: key) } catch { problems.append(error) }
        }
        #expect(!problems.isEmpty)
        if example.name == "method-bdlora" { return }
        for problem in problems {
            let text = problem.description.lowercased()
            #expect(example.mentions.contains { text.contains($0.lowercased()) }, "\(text)")
        }
    }
}
