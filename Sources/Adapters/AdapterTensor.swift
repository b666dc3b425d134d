/// One tensor of an adapter as its file has it, in F32.
package struct AdapterTensor: Sendable, Equatable {
    /// The key in the file, such as `base_model.model.model.layers.0.mlp.up_proj.lora_A.weight`.
    package var name: String
    /// Extents, outermost first.
    package var shape: [Int]
    /// The values, row-major.
    package var values: [Float]

    /// A tensor of these values.
    package init(name: String, shape: [Int], values: [Float]) {
        self.name = name
        self.shape = shape
        self.values = values
    }

    /// The same without labels, for lists of tensors.
    package init(_ name: String, _ shape: [Int], _ values: [Float]) {
        self.init(name: name, shape: shape, values: values)
    }
}
