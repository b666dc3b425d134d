import CheckpointIO

/// The facts of a model on their way into a checkpoint of either kind: the members of `config.json` and the pairs of
/// GGUF metadata that tell them.
package struct WrittenFields {
    /// Members of `config.json`, in the order in which they were set.
    package private(set) var json: JSONObject = [:]
    /// Keys and values of GGUF metadata, in the order in which they were set.
    package private(set) var gguf: [(key: String, value: GGUFEncodedValue)] = []
    private let prefix: String

    /// No facts yet of a model of `architecture`.
    package init(of architecture: any Architecture) {
        prefix = architecture.names.gguf + "."
        architecture.write(to: &self)
        architecture.configuration.task?.write(to: &json)
    }

    /// Sets a size.
    mutating func set(_ field: Field, _ value: Int) {
        setJSON(field.json, .integer(value))
        setGGUF(field.gguf, .uint32(UInt32(value)))
    }

    /// Sets a number.
    mutating func set(_ field: Field, _ value: Float) {
        setJSON(field.json, .real(value))
        setGGUF(field.gguf, .float32(value))
    }

    /// Sets a number of double precision, which GGUF rounds to single.
    mutating func set(_ field: Field, _ value: Double) {
        setJSON(field.json, .real(value))
        setGGUF(field.gguf, .float32(Float(value)))
    }

    /// Sets a member of `config.json` alone.
    mutating func setJSON(_ key: String, _ value: JSONValue) { json[key] = value }

    /// Sets a pair of GGUF metadata alone; `key` stands behind the architecture's name.
    mutating func setGGUF(_ key: String, _ value: GGUFEncodedValue) { gguf.append((prefix + key, value)) }
}
