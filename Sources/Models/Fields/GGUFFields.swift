import CheckpointIO
import TensorCore

/// The metadata of a GGUF file, read with checks.
package struct GGUFFields: FieldSource {
    let file: String
    let metadata: GGUFMetadata
    /// The architecture's name and a dot, with which its own keys begin.
    let prefix: String

    init(file: String, metadata: GGUFMetadata) {
        self.file = file
        self.metadata = metadata
        prefix = (metadata["general.architecture"]?.stringValue ?? "") + "."
    }

    func key(of field: Field) -> String { prefix + field.gguf }

    func bad(_ key: String, _ expected: String, _ found: String) -> ModelError {
        .badConfiguration(file: file, key: key, expected: expected, found: found)
    }

    func unsupported(_ key: String, _ found: String, _ supported: String) -> ModelError {
        .unsupportedConfiguration(file: file, key: key, found: found, supported: supported)
    }

    /// What a message says of a value that may fill the file.
    private static func shown(_ value: GGUFValue) -> String {
        if let text = value.stringValue { return "'\(text.beginning(shownLimit))'" }
        if let count = value.elementCount { return "an array of \(count)" }
        return value.integer(in: .anything).map { "\($0)" } ?? value.doubleValue.map { "\($0)" } ?? "\(value)"
    }

    /// Unicode scalars of a text that a message has room for.
    static let shownLimit = 200

    /// A size; an array of equal sizes, one a layer, counts as one.
    func positiveInteger(_ key: String) throws(ModelError) -> Int? {
        guard let value = metadata[key] else { return nil }
        var integer = value.integer(in: .sizes)
        if let list = value.integers(in: .anything) {
            guard let first = list.first, list.allSatisfy({ $0 == first }) else {
                throw unsupported(key, "different from layer to layer", "layers of one shape")
            }
            integer = ClosedRange.sizes.contains(first) ? first : nil
        }
        guard let integer else {
            throw bad(key, "an integer from 1 to \(Int32.max)", Self.shown(value))
        }
        return integer
    }

    func positiveNumber(_ key: String) throws(ModelError) -> Double? {
        guard let value = metadata[key] else { return nil }
        guard let number = value.doubleValue, number > 0, number.isFinite else {
            throw bad(key, "a positive number", Self.shown(value))
        }
        return number
    }
}
