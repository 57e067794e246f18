from avatarpool.protocol.wire import message_pb2 as _message_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Envelope(_message.Message):
    __slots__ = ("type", "client_configure_session", "server_confirm_session", "client_audio_input", "server_error", "server_response_animation", "client_interrupt", "client_pause", "client_resume", "server_playback_state")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    CLIENT_CONFIGURE_SESSION_FIELD_NUMBER: _ClassVar[int]
    SERVER_CONFIRM_SESSION_FIELD_NUMBER: _ClassVar[int]
    CLIENT_AUDIO_INPUT_FIELD_NUMBER: _ClassVar[int]
    SERVER_ERROR_FIELD_NUMBER: _ClassVar[int]
    SERVER_RESPONSE_ANIMATION_FIELD_NUMBER: _ClassVar[int]
    CLIENT_INTERRUPT_FIELD_NUMBER: _ClassVar[int]
    CLIENT_PAUSE_FIELD_NUMBER: _ClassVar[int]
    CLIENT_RESUME_FIELD_NUMBER: _ClassVar[int]
    SERVER_PLAYBACK_STATE_FIELD_NUMBER: _ClassVar[int]
    type: _message_pb2.MessageType
    client_configure_session: _message_pb2.ClientConfigureSession
    server_confirm_session: _message_pb2.ServerConfirmSession
    client_audio_input: _message_pb2.ClientAudioInput
    server_error: _message_pb2.ServerError
    server_response_animation: OpaqueAnimation
    client_interrupt: _message_pb2.ClientInterrupt
    client_pause: _message_pb2.ClientPause
    client_resume: _message_pb2.ClientResume
    server_playback_state: _message_pb2.ServerPlaybackState
    def __init__(self, type: _Optional[_Union[_message_pb2.MessageType, str]] = ..., client_configure_session: _Optional[_Union[_message_pb2.ClientConfigureSession, _Mapping]] = ..., server_confirm_session: _Optional[_Union[_message_pb2.ServerConfirmSession, _Mapping]] = ..., client_audio_input: _Optional[_Union[_message_pb2.ClientAudioInput, _Mapping]] = ..., server_error: _Optional[_Union[_message_pb2.ServerError, _Mapping]] = ..., server_response_animation: _Optional[_Union[OpaqueAnimation, _Mapping]] = ..., client_interrupt: _Optional[_Union[_message_pb2.ClientInterrupt, _Mapping]] = ..., client_pause: _Optional[_Union[_message_pb2.ClientPause, _Mapping]] = ..., client_resume: _Optional[_Union[_message_pb2.ClientResume, _Mapping]] = ..., server_playback_state: _Optional[_Union[_message_pb2.ServerPlaybackState, _Mapping]] = ...) -> None: ...

class OpaqueAnimation(_message.Message):
    __slots__ = ("connection_id", "req_id", "end", "animation", "avatar_id")
    CONNECTION_ID_FIELD_NUMBER: _ClassVar[int]
    REQ_ID_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    ANIMATION_FIELD_NUMBER: _ClassVar[int]
    AVATAR_ID_FIELD_NUMBER: _ClassVar[int]
    connection_id: str
    req_id: str
    end: bool
    animation: bytes
    avatar_id: str
    def __init__(self, connection_id: _Optional[str] = ..., req_id: _Optional[str] = ..., end: bool = ..., animation: _Optional[bytes] = ..., avatar_id: _Optional[str] = ...) -> None: ...
