"""Small clients of an exported model, to use and to copy from: REST, gRPC, and ONNX Runtime without a server."""
